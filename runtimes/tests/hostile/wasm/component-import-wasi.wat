;; expect: denied
;; It imports files of WASI preview 2.
(component (import "wasi:filesystem/types@0.2.0" (instance)))
