-- expect: compile
return function(event) return event.. end
