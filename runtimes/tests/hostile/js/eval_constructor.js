// expect: thrown
export default () => (async () => {}).constructor('return 1')();
