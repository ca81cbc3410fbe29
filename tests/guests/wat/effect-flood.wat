;; Asks for effects for ever, whatever the answer.
(import "nodepath:plugin/effects@0.1.0" "cancel-timer" (func $cancel_timer (param i32 i32 i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (i32.const 65536))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (loop $more
    (call $cancel_timer (i32.const 60064) (i32.const 8) (i32.const 32))
    (br $more))
  unreachable)
