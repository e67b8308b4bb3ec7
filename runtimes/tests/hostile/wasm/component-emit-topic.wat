;; expect: emit-topic
;; expect on wasmer: compile
;; The name of the topic is as large as its memory, and is emitted to again and again.
(component
  (import "hexafn:function/topics@1.0.0" (instance $topics
    (export "emit" (func (param "topic" string) (param "key" (option string)) (param "data" string)))))
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))
  (alias export $topics "emit" (func $emit))
  (core func $emit_core (canon lower (func $emit) (memory $mem)))
  (core module $main
    (import "m" "memory" (memory 1))
    (import "h" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32)))
    (data (i32.const 64) "orders.a1")
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (drop (memory.grow (i32.const 40)))
      (memory.fill (i32.const 65536) (i32.const 48) (i32.const 2621440))
      (memory.copy (i32.const 65536) (i32.const 64) (i32.const 7))
      (loop $again
        (call $emit (i32.const 65536) (i32.const 2621440) (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 72) (i32.const 1))
        (br $again))
      unreachable))
  (core instance $i (instantiate $main
    (with "m" (instance $m))
    (with "h" (instance (export "emit" (func $emit_core))))))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))
