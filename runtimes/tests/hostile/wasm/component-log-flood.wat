;; expect: host-calls
;; expect on wasmer: compile
;; It logs without end.
(component
  (import "hexafn:function/logs@1.0.0" (instance $logs
    (type $level' (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "message" string)))))
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))
  (alias export $logs "log" (func $log))
  (core func $log_core (canon lower (func $log) (memory $mem)))
  (core module $main
    (import "m" "memory" (memory 1))
    (import "h" "log" (func $log (param i32 i32 i32)))
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (loop $again
        (call $log (i32.const 1) (i32.const 64) (i32.const 1))
        (br $again))
      unreachable))
  (core instance $i (instantiate $main
    (with "m" (instance $m))
    (with "h" (instance (export "log" (func $log_core))))))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))
