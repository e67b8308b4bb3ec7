// expect: thrown
export default () => fetch('http://localhost/');
