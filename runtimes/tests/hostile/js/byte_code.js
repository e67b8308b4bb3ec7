// expect: compile
not text
