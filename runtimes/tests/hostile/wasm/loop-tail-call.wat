;; expect: timeout
;; expect on wasmer: compile
;; A tail call to itself needs no stack.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func $f (return_call $f))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (call $f)
    (i64.const 0))
)
