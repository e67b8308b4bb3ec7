;; Traps two functions deep.
(module
  (memory (export "memory") 1)
  (func $inner (param i32) (if (local.get 0) (then unreachable)))
  (func $outer (param i32) (call $inner (local.get 0)) (call $inner (i32.const 0)))
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "hexafn_call") (param i32 i32) (result i64) (call $outer (i32.const 1)) (i64.const 0)))
