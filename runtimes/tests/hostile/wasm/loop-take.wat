;; expect: timeout
;; Takes a result that is not there for ever.
(module
  (import "hexafn" "take" (func $take (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (drop (call $take (i32.const 0) (i32.const 10))) (br $again))
    unreachable)
)
