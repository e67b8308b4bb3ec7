;; expect: timeout
;; Asks for the time for ever: a call to the host that is not counted.
(module
  (import "hexafn" "now_ms" (func $now_ms (result i64)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (drop (call $now_ms)) (br $again))
    unreachable)
)
