// expect: stack
export default () => JSON.parse("[".repeat(400000) + "]".repeat(400000));
