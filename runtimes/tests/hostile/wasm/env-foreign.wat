;; expect: denied
;; Reads a variable that it is not granted.
(module
  (import "hexafn" "env" (func $env (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (data (i32.const 0) "HOME")
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (drop (call $env (i32.const 0) (i32.const 4)))
    (i64.const 0))
)
