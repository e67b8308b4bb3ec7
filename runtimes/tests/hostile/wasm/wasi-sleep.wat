;; expect: timeout
;; Sleeps for a century: the host waits, and no instruction runs that a deadline could end.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (data (i32.const 24) "\ff\ff\ff\ff\ff\ff\ff\2f")
  (func (export "_start")
    (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
