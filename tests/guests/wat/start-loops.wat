;; Its module begins with an endless loop; when it is checked, whose clock shows 0, it behaves.
(import "nodepath:plugin/clock@0.1.0" "now" (func $now (result i64)))
(start $begin)
(func $begin
  (if (i64.ne (call $now) (i64.const 0))
    (then (loop $for_ever (br $for_ever)))))
