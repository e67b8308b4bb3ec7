;; Gives its input back: {"event":{…},"ctx":{…}}. Reading JSON is what a library of the language is for that a module is
;; compiled from (docs/runtimes/wasm.md); this is all that a module needs to be called.
(module
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  ;; A place behind all that was given; one call is one instance, so nothing is given back.
  (func (export "hexafn_alloc") (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.ne (i32.const -1)
        (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $len) (i32.const 16))))))
      (return (i32.const 0)))
    (local.get $at))
  ;; The pointer of the result in the high 32 bits, its length in the low ones.
  (func (export "hexafn_call") (param $at i32) (param $len i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $len)))))
