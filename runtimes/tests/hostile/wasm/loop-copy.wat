;; expect: timeout
;; Each turn copies half of the memory.
(module
  (memory (export "memory") 256)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (memory.copy (i32.const 0) (i32.const 8388608) (i32.const 8388608)) (br $again))
    unreachable)
)
