// expect: thrown
export default () => new RegExp("[".repeat(100000) + "]".repeat(100000), "v");
