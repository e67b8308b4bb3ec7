// expect: output-too-large
export default () => 'x'.repeat(1 << 20);
