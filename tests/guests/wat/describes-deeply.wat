;; Has a schema of its configuration that nests 60,000 deep.
(memory (export "memory") 4)
(data (i32.const 16)
  "\40\00\00\00\08\00\00\00" ;; name: at 64, 8 bytes
  "\50\00\00\00\05\00\00\00" ;; version: at 80, 5 bytes
  "\40\00\00\00\08\00\00\00" ;; description: the name
  "\00\00\00\00\00\00\00\00" ;; no capabilities
  "\00\00\01\00\65\ea\00\00" ;; config-schema-json: at 65536, 60,005 bytes
  "\01\00\00\00")            ;; state-schema: 1
(data (i32.const 64) "test-wat")
(data (i32.const 80) "0.1.0")
(data (i32.const 65536) "{\"a\":")
(func (export "nodepath:plugin/manifest@0.1.0#describe") (result i32)
  (memory.fill (i32.const 65541) (i32.const 91) (i32.const 60000))
  (i32.const 16))
