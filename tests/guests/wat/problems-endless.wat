;; Has 100,000 complaints about its configuration, and says the same in each.
(memory (export "memory") 40)
(data (i32.const 16) "\01\00\00\00\00\00\01\00\a0\86\01\00") ;; an error: the list at 65536, of 100,000
(func (export "nodepath:plugin/manifest@0.1.0#validate-config") (param i32 i32) (result i32)
  (local $at i32)
  (loop $fill
    (i32.store offset=65536 (local.get $at) (i32.const 60064))
    (i32.store offset=65540 (local.get $at) (i32.const 8))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $fill (i32.lt_u (local.get $at) (i32.const 800000))))
  (i32.const 16))
