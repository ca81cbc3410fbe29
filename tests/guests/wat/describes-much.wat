;; Describes itself with a name of four mebibytes.
(memory (export "memory") 80)
(data (i32.const 16) "\00\00\01\00\00\00\40\00")
(func (export "nodepath:plugin/manifest@0.1.0#describe") (result i32)
  (i32.const 16))
