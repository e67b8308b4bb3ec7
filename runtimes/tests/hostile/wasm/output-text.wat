;; expect: bad-output
;; A result that is not JSON.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (data (i32.const 8) "{oops")
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0x00000008_00000005))
)
