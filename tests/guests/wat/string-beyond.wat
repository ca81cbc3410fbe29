;; Sends a text that lies beyond its memory.
(import "nodepath:plugin/effects@0.1.0" "send-text"
  (func $send_text (param i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (call $send_text (i32.const 131000) (i32.const 1000)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0)
    (i32.const 32))
  (i32.const 60200))
