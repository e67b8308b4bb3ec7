// expect: denied
import * as os from 'qjs:os';
export default () => os.exec(['id']);
