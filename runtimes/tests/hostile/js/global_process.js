// expect: thrown
export default () => process.exit(1);
