// expect: compile
export default 42;
