;; Lets go of the same thing twice.
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (local $timer i32)
  (local.set $timer (call $subscribe (i64.const 0)))
  (call $drop (local.get $timer))
  (call $drop (local.get $timer))
  (i32.const 60200))
