;; expect: timeout
;; expect on wasmer: compile
;; It begins when its parts are put together.
(component
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))
  (core module $main
    (import "m" "memory" (memory 1))
    (func $start (loop $again (br $again)))
    (start $start)
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      unreachable))
  (core instance $i (instantiate $main
    (with "m" (instance $m))))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))
