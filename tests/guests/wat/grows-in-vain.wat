;; Asks for more memory than there is, again and again, whatever the answer.
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (loop $more
    (drop (memory.grow (i32.const 65535)))
    (br $more))
  unreachable)
