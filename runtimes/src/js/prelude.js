// Runs in every fresh context before the function's module. It takes hold of what the host reads and makes values with,
// before that can change it, and puts guards where the engine has none. It is paid for by each call: what need not be
// JavaScript is in host.rs.

const { apply, construct } = Reflect;
const { defineProperties, getOwnPropertyDescriptors } = Object;
const { isRawJSON, rawJSON, stringify } = JSON;
const { isArray } = Array;
const { toString: kind } = Object.prototype;
const { toWellFormed } = String.prototype;
const functions = Function.prototype;
const { bind } = functions;
const bigints = BigInt.prototype;
const { toString: digits } = bigints;
const none = [];

// The engine's iterator helpers call each other without a look at the stack, so that enough of them, one around the other,
// would end the process. A function of JavaScript between them looks.
for (const helper of [none.values().take(0), Iterator.from({ next() {} })]) {
  const prototype = helper.__proto__;
  const { next, return: end } = prototype;
  // Assigned, and not defined: they stay as hidden as they are.
  prototype.next = { next() { return apply(next, this, none); } }.next;
  prototype.return = { return() { return apply(end, this, none); } }.return;
}

/** How often a function may be bound over. */
const MOST_BOUND = 1000;

// `instanceof` goes through bound functions without a look at the stack, too, and cannot be replaced: so `bind` has an end.
const depths = new WeakMap();
const { get: depthOf, set: setDepth } = depths;
functions.bind = {
  bind(self) {
    const depth = (apply(depthOf, depths, [this]) ?? 0) + 1;
    if (depth > MOST_BOUND) throw new RangeError("a function can be bound over at most " + MOST_BOUND + " times");
    const bound = apply(bind, this, arguments);
    apply(setDepth, depths, [bound, depth]);
    return bound;
  },
}.bind;

// So that `JSON.stringify` keeps all digits, too.
Object.defineProperty(bigints, "toJSON", {
  value: { toJSON() { return rawJSON(apply(digits, this, none)); } }.toJSON,
  writable: true,
  configurable: true,
});

/**
 * What `console` shows of an object: its JSON, with what JSON does not have as text. Undefined when there is none; whatever the object
 * does then is no reason to fail.
 */
function show(object) {
  // What is being written, from the outside in: the objects as they were given, and what is written for them.
  const given = [], written = [];
  let depth = 0;
  function replace(_, value) {
    while (depth > 0 && written[depth - 1] !== this) depth--;
    if (typeof value === "number" && value - value !== 0) return `${value}`;
    if (typeof value === "function") return "[function]";
    if (typeof value !== "object" || value === null || isRawJSON(value)) return value;
    for (let n = 0; n < depth; n++) if (given[n] === value) return "[circular]";
    let instead = value;
    switch (apply(kind, value, none)) {
      case "[object Map]": instead = { Map: [...value] }; break;
      case "[object Set]": instead = { Set: [...value] }; break;
      case "[object Error]": return `${value.name}: ${value.message}`;
    }
    given[depth] = value;
    written[depth++] = instead;
    return instead;
  }
  try {
    return stringify(object, replace);
  } catch {
    return undefined;
  }
}

/** Puts a `Date` in the place of the engine's that has the time from `now` alone, and is like it in all else. */
function stopTime(now) {
  const Engine = globalThis.Date;
  const dates = Engine.prototype;
  const { toString } = dates;
  function Date() {
    if (new.target === undefined) return apply(toString, new Engine(now()), none);
    return construct(Engine, arguments.length === 0 ? [now()] : arguments, new.target);
  }
  defineProperties(Date, getOwnPropertyDescriptors(Engine));
  Date.now = now;
  // Assigned, so that they stay as hidden as they are.
  dates.constructor = globalThis.Date = Date;
}

/** See `Tools` in value.rs. */
export default { isArray, isRawJSON, rawJSON, kind, toWellFormed, show, stopTime, whole: BigInt };
