;; expect: bad-output
;; A result in quotes that is not UTF-8.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (data (i32.const 8) "\22\ff\ed\a0\80\22")
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0x00000008_00000006))
)
