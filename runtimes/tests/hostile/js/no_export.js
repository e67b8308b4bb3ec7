// expect: compile
const f = () => 1;
