;; expect: abi
;; The data of an event with a length of 4 GiB.
(module
  (import "hexafn" "emit" (func $emit (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (call $emit (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))
    (i64.const 0))
)
