;; expect: compile
;; It exports nothing.
(component)
