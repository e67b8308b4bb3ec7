;; expect: timeout
;; Each turn fills the whole memory: much work in one instruction.
(module
  (memory (export "memory") 256)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (loop $again (memory.fill (i32.const 0) (i32.const 7) (i32.const 16777216)) (br $again))
    unreachable)
)
