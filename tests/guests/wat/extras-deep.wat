;; Sends a text with an extra that nests 2,000 deep, and fails with what the host says to that.
(import "nodepath:plugin/effects@0.1.0" "send-text"
  (func $send_text (param i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32)))
(data (i32.const 16) "deep")
(data (i32.const 32) "preview_url")
;; The list of extras: one, its name at 32 with 11 bytes, its value at 1,000 with 4,000.
(data (i32.const 48) "\20\00\00\00\0b\00\00\00\e8\03\00\00\a0\0f\00\00")
;; What it answers: the error `failed`, whose text follows.
(data (i32.const 6000) "\01\00\00\00\00\00\00\00\01")
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (memory.fill (i32.const 1000) (i32.const 91) (i32.const 2000))
  (memory.fill (i32.const 3000) (i32.const 93) (i32.const 2000))
  (call $send_text (i32.const 16) (i32.const 4)
    (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 48) (i32.const 1)
    (i32.const 5008))
  ;; Where the text is taken after all, it commits it.
  (if (i32.eqz (i32.load8_u (i32.const 5008))) (then (return (i32.const 60200))))
  (i64.store (i32.const 6016) (i64.load (i32.const 5016)))
  (i32.const 6000))
