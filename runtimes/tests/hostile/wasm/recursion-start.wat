;; expect: stack
;; Recursion in the start function.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func $f (result i32) (i32.add (call $f) (i32.const 1)))
  (func $start (drop (call $f)))
  (start $start)
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0))
)
