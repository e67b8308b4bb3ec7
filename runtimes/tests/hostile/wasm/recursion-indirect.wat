;; expect: stack
;; Recursion through a table.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (table 1 funcref)
  (type $t (func (param i32) (result i32)))
  (func $f (type $t) (i32.add (call_indirect (type $t) (local.get 0) (i32.const 0)) (i32.const 1)))
  (elem (i32.const 0) $f)
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.extend_i32_u (call $f (i32.const 0))))
)
