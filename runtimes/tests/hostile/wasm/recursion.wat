;; expect: stack
;; Recursion without an end.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.extend_i32_u (call $f (i32.const 0))))
)
