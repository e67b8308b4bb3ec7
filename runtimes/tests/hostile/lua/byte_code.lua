-- expect: compile
not text
