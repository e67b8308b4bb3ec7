// expect: bad-output
export default () => '\ud800';
