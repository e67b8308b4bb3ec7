;; expect: emits
;; Emits for ever.
(module
  (import "hexafn" "emit" (func $emit (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (data (i32.const 0) "orders.a1")
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (call $emit (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 1)) (br $again))
    unreachable)
)
