;; expect: bad-output
;; A result of ten thousand opening brackets.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (memory.fill (i32.const 8) (i32.const 91) (i32.const 10000))
    (i64.const 0x00000008_00002710))
)
