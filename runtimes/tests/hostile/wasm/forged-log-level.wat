;; expect: abi
;; A log line of a level that does not exist.
(module
  (import "hexafn" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (call $log (i32.const 9) (i32.const 0) (i32.const 0))
    (i64.const 0))
)
