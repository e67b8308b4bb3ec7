// expect: thrown
export default () => import('hexafn:prelude');
