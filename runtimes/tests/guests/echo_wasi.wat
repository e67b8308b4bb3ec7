;; A command: copies standard input to standard output, and two lines to standard error.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; One buffer of 16 bytes at 256; its vector at 0, the number of bytes at 8.
  (data (i32.const 0) "\00\01\00\00\10\00\00\00")
  (data (i32.const 16) "\20\00\00\00\07\00\00\00")
  (data (i32.const 32) "one\ntwo")
  (func (export "_start")
    (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 8)))
    (loop $again
      (i32.store (i32.const 4) (i32.const 16))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (br_if $again (i32.load (i32.const 8))))))
