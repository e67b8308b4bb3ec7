// expect: output-too-large
export default () => new Array(4294967295);
