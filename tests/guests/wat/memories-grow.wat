;; Four modules with a memory each, of which none is large and all together are.
(import "a" "grow" (func $grow_a (result i32)))
(import "b" "grow" (func $grow_b (result i32)))
(import "c" "grow" (func $grow_c (result i32)))
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (loop $more
    (if (i32.eq (call $grow_a) (i32.const -1)) (then unreachable))
    (if (i32.eq (call $grow_b) (i32.const -1)) (then unreachable))
    (if (i32.eq (call $grow_c) (i32.const -1)) (then unreachable))
    (br $more))
  unreachable)
;;; part a b c
(memory 1)
(func (export "grow") (result i32) (memory.grow (i32.const 1)))
