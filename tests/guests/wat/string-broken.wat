;; Sends a text that is not UTF-8.
(import "nodepath:plugin/effects@0.1.0" "send-text"
  (func $send_text (param i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32)))
(data (i32.const 16) "\ff\fe")
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (call $send_text (i32.const 16) (i32.const 2)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0)
    (i32.const 32))
  (i32.const 60200))
