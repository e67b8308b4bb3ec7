// expect: memory
export default () => new ArrayBuffer(1 << 30);
