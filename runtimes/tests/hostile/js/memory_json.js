// expect: memory
export default () => JSON.parse('[' + '[],'.repeat(2000000) + '[]]');
