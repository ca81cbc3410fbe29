;; Writes a log line whose fields are all the same three mebibytes of its memory, so that they take more in the host than here.
(import "nodepath:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
(memory (export "memory") 64)
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (local $at i32)
  ;; 1,000 fields, each of the name of length 0 and the value of 3 MiB at 512 KiB.
  (loop $fields
    (i32.store offset=72 (local.get $at) (i32.const 524288))
    (i32.store offset=76 (local.get $at) (i32.const 3145728))
    (local.set $at (i32.add (local.get $at) (i32.const 16)))
    (br_if $fields (i32.lt_u (local.get $at) (i32.const 16000))))
  (call $write (i32.const 0) (i32.const 16) (i32.const 0) (i32.const 64) (i32.const 1000))
  (i32.const 60200))
