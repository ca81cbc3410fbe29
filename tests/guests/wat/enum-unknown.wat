;; Writes a log line of a level that there is not.
(import "nodepath:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (call $write (i32.const 77) (i32.const 16) (i32.const 0) (i32.const 0) (i32.const 0))
  (i32.const 60200))
