-- expect: compile
return {}
