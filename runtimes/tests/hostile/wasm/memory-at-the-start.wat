;; expect: memory
;; Begins with 4 GiB.
(module
  (memory (export "memory") 65536)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0))
)
