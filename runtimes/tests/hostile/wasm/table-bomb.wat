;; expect: memory
;; Grows a table until it may not.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (table $t 1 funcref)
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1))))
    unreachable)
)
