;; expect: compile
;; Names a global that it does not have: an engine may have added one.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (global.set 0 (i64.const 1000000))
    (i64.const 0))
)
