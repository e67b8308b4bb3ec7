;; expect: denied
;; expect on wasmer: compile
;; It imports a directory of WASI preview 2 and opens it.
(component
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type $descriptor (sub resource)))
    (export "[method]descriptor.sync" (func (param "self" (borrow $descriptor))))
    (export "filesystem-open" (func (result (own $descriptor))))))
  (alias export $files "filesystem-open" (func $open))
  (core func $open_core (canon lower (func $open)))
  (core module $main
    (import "h" "open" (func $open (result i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (drop (call $open))
      unreachable))
  (core instance $i (instantiate $main (with "h" (instance (export "open" (func $open_core))))))
  (alias core export $i "memory" (core memory $mem))
  (alias core export $i "realloc" (core func $realloc))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))
