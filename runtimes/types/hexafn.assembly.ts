// What hexaFn offers to functions in AssemblyScript: imports of the module `hexafn`, and what a core module has to do.

@external("hexafn", "log")
declare function hostLog(level: i32, text: usize, length: i32): void;
@external("hexafn", "emit")
declare function hostEmit(topic: usize, topicLength: i32, key: usize, keyLength: i32, data: usize, dataLength: i32): void;
@external("hexafn", "fail")
declare function hostFail(text: usize, length: i32): void;

/** How much a log line matters. */
export enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

/** Writes a log line. */
export function log(level: Level, text: string): void {
  const bytes = String.UTF8.encode(text);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/** Sends an event to a topic of the setting `emit`, when the function ends well. `data` is JSON; an empty key is none. */
export function emit(topic: string, key: string, data: string): void {
  const t = String.UTF8.encode(topic);
  const k = String.UTF8.encode(key);
  const d = String.UTF8.encode(data);
  hostEmit(changetype<usize>(t), t.byteLength, changetype<usize>(k), k.byteLength, changetype<usize>(d), d.byteLength);
}

/** A place for the input. One call is one instance, so nothing is ever given back. */
export function alloc(length: i32): usize {
  return heap.alloc(length);
}

/** The input, `{"event":…,"ctx":…}`. */
export function input(pointer: usize, length: i32): string {
  return String.UTF8.decodeUnsafe(pointer, length);
}

/** Where the result lies, as `hexafn_call` says it. */
export function output(json: string): i64 {
  const bytes = String.UTF8.encode(json);
  return ((changetype<usize>(bytes) as i64) << 32) | (bytes.byteLength as i64);
}

/** What `throw` comes to (`asc --use abort=…`): the error `thrown`, with this message. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const where = file ? `${file}:${line}:${column}: ` : "";
  const text = String.UTF8.encode(where + (message ? message : "aborted"));
  hostFail(changetype<usize>(text), text.byteLength);
  unreachable();
}
