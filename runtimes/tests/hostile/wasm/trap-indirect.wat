;; expect: trap
;; Calls a function with another signature than it has.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (table 1 funcref)
  (type $t (func (param i64)))
  (func $f)
  (elem (i32.const 0) $f)
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (call_indirect (type $t) (i64.const 0) (i32.const 0))
    (i64.const 0))
)
