;; expect: denied
;; It imports requests, and is granted none.
(component (import "hexafn:function/web@1.0.0" (instance)))
