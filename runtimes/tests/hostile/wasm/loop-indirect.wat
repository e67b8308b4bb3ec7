;; expect: timeout
;; A loop over a call through a table.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (table 1 funcref)
  (type $t (func))
  (func $f)
  (elem (i32.const 0) $f)
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (call_indirect (type $t) (i32.const 0)) (br $again))
    unreachable)
)
