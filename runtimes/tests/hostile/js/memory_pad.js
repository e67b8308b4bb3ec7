// expect: memory
export default () => ''.padStart(600000000, 'ab');
