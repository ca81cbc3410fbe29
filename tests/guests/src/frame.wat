;; What a guest of `wat/` need not say itself: it is put behind what the guest does say. Each part is left out where the
;; guest has its own.

;;; memory
(memory (export "memory") 2)

;;; cabi_realloc
;; Takes what the host passes in, one behind the other, from the second page on.
(global $top (mut i32) (i32.const 65536))
(func (export "cabi_realloc")
  (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32)
  (local.set $at
    (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
  (global.set $top (i32.add (local.get $at) (local.get $size)))
  (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
    (then unreachable))
  (local.get $at))

;;; nodepath:plugin/manifest@0.1.0#describe
;; The record `info`: five pairs of address and length, and a number.
(data (i32.const 60000)
  "\a0\ea\00\00\08\00\00\00" ;; name: at 60064, 8 bytes
  "\b0\ea\00\00\05\00\00\00" ;; version: at 60080, 5 bytes
  "\a0\ea\00\00\08\00\00\00" ;; description: the name
  "\00\00\00\00\00\00\00\00" ;; no capabilities
  "\c0\ea\00\00\02\00\00\00" ;; config-schema-json: at 60096, 2 bytes
  "\01\00\00\00")            ;; state-schema: 1
(data (i32.const 60064) "test-wat")
(data (i32.const 60080) "0.1.0")
(data (i32.const 60096) "{}")
(func (export "nodepath:plugin/manifest@0.1.0#describe") (result i32)
  (i32.const 60000))

;;; nodepath:plugin/manifest@0.1.0#validate-config
;; `ok`: the first byte of the answer is 0.
(func (export "nodepath:plugin/manifest@0.1.0#validate-config")
  (param i32 i32) (result i32)
  (i32.const 60200))

;;; nodepath:plugin/handler@0.1.0#handle
;; `ok(commit)`: two bytes of 0.
(func (export "nodepath:plugin/handler@0.1.0#handle") (param i32) (result i32)
  (i32.const 60200))
