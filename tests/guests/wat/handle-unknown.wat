;; Waits for something that it never had.
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (call $block (i32.const 99))
  (i32.const 60200))
