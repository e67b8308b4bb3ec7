;; expect: memory
;; expect on wasmer: compile
;; Two parts with a memory each, which together are more than it may have.
(component
  (core module $part
    (memory (export "memory") 300)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "handle") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $one (instantiate $part))
  (core instance $other (instantiate $part))
  (alias core export $one "memory" (core memory $mem))
  (alias core export $one "realloc" (core func $realloc))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $one "handle") (memory $mem) (realloc $realloc))))
