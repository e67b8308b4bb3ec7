;; expect: output-too-large
;; A result of a megabyte.
(module
  (memory (export "memory") 32)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0x00000008_00100000))
)
