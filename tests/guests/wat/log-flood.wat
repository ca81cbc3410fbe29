;; Writes log lines for ever.
(import "nodepath:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (loop $more
    (call $write (i32.const 2) (i32.const 60064) (i32.const 8) (i32.const 0) (i32.const 0))
    (br $more))
  unreachable)
