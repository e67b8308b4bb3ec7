;; expect: abi
;; A vector of buffers beyond the memory.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const -8) (i32.const 4) (i32.const 16)))))
