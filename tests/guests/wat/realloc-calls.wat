;; Its allocator calls the host, which is waiting for its answer.
(import "nodepath:plugin/config@0.1.0" "all-json" (func $all_json (param i32)))
(import "nodepath:plugin/presence@0.1.0" "mark-read" (func $mark_read))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (call $mark_read)
  (i32.const 65536))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (call $all_json (i32.const 0))
  (i32.const 60200))
