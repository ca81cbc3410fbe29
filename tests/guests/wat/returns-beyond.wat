;; Answers with an address beyond its memory.
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (i32.const -16))
