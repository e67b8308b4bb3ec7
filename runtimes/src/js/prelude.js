// Runs in every fresh context before the function's module, and takes hold of what it needs before that can change it.
// `host(operation, tools, ...)` is the one way out; see host.rs for the operations.

const { stringify, isRawJSON, rawJSON } = JSON;
const { toString } = Object.prototype;
const { apply } = Reflect;
const { toWellFormed } = String.prototype;
const { join } = Array.prototype;
const { isArray } = Array;
const { defineProperty, entries } = Object;
const { toString: digits } = BigInt.prototype;
const asText = String;
const asNumber = BigInt;
const isError = Error.isError ?? ((value) => value instanceof Error);

/** What `console` shows of a value. */
function show(value) {
  if (typeof value === "string") return value;
  if (typeof value === "bigint") return apply(digits, value, []);
  if (typeof value !== "object" || value === null) return asText(value);
  if (isError(value)) return asText(value) + (value.stack ? "\n" + value.stack : "");
  return stringify(value) ?? asText(value);
}

function line(level) {
  return (...values) => {
    const shown = [];
    for (let i = 0; i < values.length; i++) shown[i] = show(values[i]);
    host(0, tools, level, apply(toWellFormed, apply(join, shown, [" "]), []));
  };
}

/** What the host reads values with. */
const tools = {
  isArray,
  digits: (value) => apply(digits, value, []),
  exact: (text, whole) => (whole ? asNumber(text) : rawJSON(text)),
  raw: (value) => (isRawJSON(value) ? value.rawJSON : null),
  kind: (value) => apply(toString, value, []),
};

let host;

/** Makes the globals and completes `ctx`; gives what the host needs to read values. */
export default function setup(send, ctx) {
  host = send;
  globalThis.console = {
    debug: line("debug"),
    info: line("info"),
    log: line("info"),
    warn: line("warn"),
    error: line("error"),
  };
  // So that `JSON.stringify` keeps all digits, too.
  defineProperty(BigInt.prototype, "toJSON", {
    value() {
      return rawJSON(apply(digits, this, []));
    },
    writable: true,
    configurable: true,
  });
  Math.random = () => host(1, tools);
  Date.now = () => host(2, tools);
  delete globalThis.Atomics;
  delete globalThis.SharedArrayBuffer;
  delete globalThis.eval;

  ctx.emit = (topic, data, options) => host(3, tools, asText(topic), data, options?.key == null ? null : asText(options.key));
  ctx.kv = {
    get: (namespace, key) => host(4, tools, asText(namespace), asText(key)),
    put: (namespace, key, value) => host(5, tools, asText(namespace), asText(key), value),
    delete: (namespace, key) => host(6, tools, asText(namespace), asText(key)),
  };
  ctx.http = (request) => {
    if (typeof request === "string") request = { url: request };
    const { method = "GET", url, headers = {}, body = null } = request;
    const pairs = [];
    const given = isArray(headers) ? headers : entries(headers);
    for (let i = 0; i < given.length; i++) pairs[i] = [asText(given[i][0]), asText(given[i][1])];
    const text = body === null || typeof body === "string" ? body : stringify(body);
    const answer = host(7, tools, { method: asText(method), url: asText(url), headers: pairs, body: text });
    const map = {};
    for (const [name, value] of answer.headers) map[name] = name in map ? map[name] + ", " + value : value;
    return { status: answer.status, headers: map, body: answer.body };
  };
  return tools;
}
