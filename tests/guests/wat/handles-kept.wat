;; Asks for one timer after the other, and lets none go.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (loop $more
    (drop (call $subscribe (i64.const 1000000000)))
    (br $more))
  unreachable)
