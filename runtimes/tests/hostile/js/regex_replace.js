// expect: timeout
export default () => ('a'.repeat(64) + 'b').replace(/^(a*)*$/, '');
