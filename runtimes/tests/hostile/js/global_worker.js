// expect: thrown
export default () => new Worker('x.js');
