;; Its allocator calls the host, which is waiting for its answer; when it is checked, whose clock shows 0, it behaves.
(import "nodepath:plugin/clock@0.1.0" "now" (func $now (result i64)))
(import "nodepath:plugin/presence@0.1.0" "mark-read" (func $mark_read))
(global $since (mut i64) (i64.const 0))
(start $begin)
(func $begin (global.set $since (call $now)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (if (i64.ne (global.get $since) (i64.const 0)) (then (call $mark_read)))
  (i32.const 65536))
