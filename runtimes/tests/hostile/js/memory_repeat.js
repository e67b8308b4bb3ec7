// expect: memory
export default () => 'x'.repeat(500000000);
