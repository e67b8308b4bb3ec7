;; expect: denied
;; expect on wasmer: compile
;; It asks for a variable that it is not granted.
(component
  (import "hexafn:function/variables@1.0.0" (instance $variables
    (export "get" (func (param "name" string) (result string)))))
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))
  (alias export $variables "get" (func $get))
  (core func $get_core (canon lower (func $get) (memory $mem) (realloc $realloc)))
  (core module $main
    (import "m" "memory" (memory 1))
    (import "h" "get" (func $get (param i32 i32 i32)))
    (data (i32.const 64) "HOME")
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (call $get (i32.const 64) (i32.const 4) (i32.const 128))
      unreachable))
  (core instance $i (instantiate $main
    (with "m" (instance $m))
    (with "h" (instance (export "get" (func $get_core))))))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))
