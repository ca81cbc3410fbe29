;; Answers, and traps in the clean-up after it.
(func (export "cabi_post_nodepath:plugin/handler@0.1.0#handle") (param i32)
  unreachable)
