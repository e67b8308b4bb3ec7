;; Counts in a global and in its memory, and gives both: 11 as long as nothing is left of the call before.
(module
  (memory (export "memory") 1)
  (global $count (mut i32) (i32.const 48))
  (data (i32.const 8) "0")
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "hexafn_call") (param i32 i32) (result i64)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))
    (i32.store8 (i32.const 9) (global.get $count))
    (i64.const 0x00000008_00000002)))
