;; expect: abi
;; It ends itself well where it should give a result.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 16))
  (func (export "hexafn_call") (param i32 i32) (result i64)
    (call $exit (i32.const 0))
    unreachable))
