;; Writes a log line with as many fields as a number can say.
(import "nodepath:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (call $write (i32.const 0) (i32.const 16) (i32.const 0) (i32.const 0) (i32.const 0x0fffffff))
  (i32.const 60200))
