// expect: compile
export default (event) => { return event..x; };
