// Runs in every fresh context before the function's module, and takes hold of what it needs before that can change it.
// `host(operation, tools, ...)` is the one way out; see host.rs for the operations.

const { stringify, isRawJSON, rawJSON } = JSON;
const { toString } = Object.prototype;
const { apply } = Reflect;
const { toWellFormed } = String.prototype;
const { join } = Array.prototype;
const { isArray } = Array;
const { create, defineProperty, entries, getPrototypeOf } = Object;
const { bind } = Function.prototype;
const Weak = WeakMap;
const { get: depthOf, set: setDepth } = Weak.prototype;
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

const none = [];

/**
 * The engine's iterator helpers call each other without a look at the stack, so that enough of them, one around the other,
 * would end the process. A function of JavaScript between them looks.
 */
function guardIterators() {
  const of = [none.values().take(0), Iterator.from({ next() {} })];
  for (let i = 0; i < 2; i++) {
    const prototype = getPrototypeOf(of[i]);
    const { next, return: end } = prototype;
    // Assigned, and not defined: they stay as hidden as they are, and it is done for each call.
    prototype.next = { next() { return apply(next, this, none); } }.next;
    prototype.return = { return() { return apply(end, this, none); } }.return;
  }
}

/** How often a function may be bound over. */
const MOST_BOUND = 1000;

/** `instanceof` goes through bound functions without a look at the stack, too, and cannot be replaced: so `bind` has an end. */
function guardBind() {
  let depths;
  const guarded = {
    bind(self) {
      depths ??= new Weak();
      const depth = (apply(depthOf, depths, [this]) ?? 0) + 1;
      if (depth > MOST_BOUND) throw new RangeError("a function can be bound over at most " + MOST_BOUND + " times");
      const bound = apply(bind, this, arguments);
      apply(setDepth, depths, [bound, depth]);
      return bound;
    },
  };
  Function.prototype.bind = guarded.bind;
}

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
  guardIterators();
  guardBind();
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
    const map = create(null);
    for (let i = 0; i < answer.headers.length; i++) {
      const name = answer.headers[i][0];
      const value = answer.headers[i][1];
      map[name] = name in map ? map[name] + ", " + value : value;
    }
    return { status: answer.status, headers: map, body: answer.body };
  };
  return tools;
}
