;; expect: abi
;; Imports a function with another signature than it has.
(module
  (import "hexafn" "log" (func (param i64)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0))
)
