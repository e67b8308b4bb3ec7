;; expect: timeout
;; A loop that ends in a jump table.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (br_table $again $again (local.get $len)))
    unreachable)
)
