;; expect: compile
;; Text that does not end.
(module (func
