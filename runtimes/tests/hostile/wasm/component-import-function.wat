;; expect: denied
;; It imports a function by a name of its own.
(component (import "spawn" (func (param "command" string))))
