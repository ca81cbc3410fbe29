;; Grows its memory a page at a time until it gets no more, and touches none of it.
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  unreachable)
