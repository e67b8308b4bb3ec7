;; Fails with a message of its own.
(module
  (import "hexafn" "fail" (func $fail (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "no such customer")
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "hexafn_call") (param i32 i32) (result i64)
    (call $fail (i32.const 8) (i32.const 16))
    (i64.const 0)))
