;; Sends a request and drops the event.
(module
  (import "hexafn" "http" (func $http (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"url\":\"https://api.example.com/\"}")
  (func (export "hexafn_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "hexafn_call") (param i32 i32) (result i64)
    (drop (call $http (i32.const 0) (i32.const 34)))
    (i64.const 0)))
