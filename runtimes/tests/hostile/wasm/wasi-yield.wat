;; expect: timeout
;; Yields for ever.
(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (param) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start")
    (loop $again (drop (call $sched_yield)) (br $again))))
