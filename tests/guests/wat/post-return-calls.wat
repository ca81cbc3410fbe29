;; Answers, and asks for an effect in the clean-up after it.
(import "nodepath:plugin/effects@0.1.0" "cancel-timer" (func $cancel_timer (param i32 i32 i32)))
(data (i32.const 16) "t")
(func (export "cabi_post_nodepath:plugin/handler@0.1.0#handle") (param i32)
  (call $cancel_timer (i32.const 16) (i32.const 1) (i32.const 32)))
