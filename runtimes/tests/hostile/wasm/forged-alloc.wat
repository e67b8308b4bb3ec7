;; expect: abi
;; The allocator gives a place beyond the memory.
(module
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 0xfffffff0))
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.const 0))
)
