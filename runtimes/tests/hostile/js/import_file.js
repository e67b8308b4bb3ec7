// expect: denied
import secrets from './../../etc/passwd';
export default () => secrets;
