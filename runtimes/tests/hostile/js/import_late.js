// expect: thrown
export default () => import('std');
