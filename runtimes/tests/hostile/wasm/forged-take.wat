;; expect: abi
;; A buffer beyond the memory for a variable.
(module
  (import "hexafn" "env" (func $env (param i32 i32) (result i32)))
  (import "hexafn" "take" (func $take (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (drop (call $env (i32.const 0) (i32.const 5)))
    (drop (call $take (i32.const -4) (i32.const 100)))
    (i64.const 0))
  (data (i32.const 0) "TOKEN")
)
