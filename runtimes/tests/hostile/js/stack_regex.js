// expect: thrown or stack or memory
export default () => new RegExp('('.repeat(100000) + ')'.repeat(100000));
