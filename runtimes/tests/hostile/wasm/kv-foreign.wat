;; expect: denied
;; Reads a namespace that it is not granted.
(module
  (import "hexafn" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (data (i32.const 0) "secrets")
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (drop (call $kv_get (i32.const 0) (i32.const 7) (i32.const 0) (i32.const 1)))
    (i64.const 0))
)
