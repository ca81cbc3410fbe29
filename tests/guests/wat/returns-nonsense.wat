;; Answers with an outcome that there is not.
(data (i32.const 16) "\00\00\00\00\00\00\00\00\09")
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (i32.const 16))
