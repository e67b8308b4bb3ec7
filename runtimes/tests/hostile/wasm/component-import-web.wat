;; expect: denied
;; expect on wasmer: compile
;; It sends a request, and is granted none.
(component
  (import "hexafn:function/web@1.0.0" (instance $web
    (type $header (tuple string string))
    (type $headers (list $header))
    (type $request' (record (field "method" string) (field "url" string) (field "headers" $headers)
      (field "body" (option string))))
    (export "request" (type $request (eq $request')))
    (type $response' (record (field "status" u16) (field "headers" $headers) (field "body" string)))
    (export "response" (type $response (eq $response')))
    (export "send" (func (param "request" $request) (result (result $response (error string)))))))
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))
  (alias export $web "send" (func $send))
  (core func $send_core (canon lower (func $send) (memory $mem) (realloc $realloc)))
  (core module $main
    (import "m" "memory" (memory 1))
    (import "h" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (data (i32.const 64) "https://api.example.com/")
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (call $send (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 24) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128))
      unreachable))
  (core instance $i (instantiate $main
    (with "m" (instance $m))
    (with "h" (instance (export "send" (func $send_core))))))
  (func (export "handle") (param "event" string) (param "ctx" string) (result (result (option string) (error string)))
    (canon lift (core func $i "handle") (memory $mem) (realloc $realloc))))
