;; expect: timeout
;; Two functions that call each other in a loop.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func $a (call $b))
  (func $b)
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (call $a) (br $again))
    unreachable)
)
