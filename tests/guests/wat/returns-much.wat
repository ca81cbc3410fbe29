;; Fails with a reason of four mebibytes.
(memory (export "memory") 80)
(data (i32.const 16)
  "\01\00\00\00\00\00\00\00" ;; the error
  "\01\00\00\00\00\00\00\00" ;; `failed`
  "\00\00\01\00\00\00\40\00");; its text: at 65536, 4 MiB
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (i32.const 16))
