// Types of functions in JavaScript, for editors. In a function's file:
//
//   /** @type {import("./hexafn").Handler} */
//   export default (event, ctx) => { … };
//
// or, in TypeScript that is compiled to one ES module: `import type { Handler } from "./hexafn"`.

/** What JSON has. Whole numbers beyond ±(2^53 − 1) are bigints; decimals that a number would round are RawJson. */
export type Json = null | boolean | number | bigint | string | RawJson | Json[] | { [key: string]: Json };

/** What a function may return or emit: also undefined properties (left out), and what has `toJSON`, such as Date. */
export type Output =
  | null
  | boolean
  | number
  | bigint
  | string
  | RawJson
  | { toJSON(): Output }
  | readonly (Output | undefined)[]
  | { readonly [key: string]: Output | undefined };

/** A number with all its digits, as made by `JSON.rawJSON`. `Number(value.rawJSON)` rounds it. */
export interface RawJson {
  readonly rawJSON: string;
}

/** An event. `Data` is the type of its payload. What is absent is null. */
export interface Event<Data = any> {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string | null;
  /** When it happened, RFC 3339. */
  readonly time: string;
  readonly topic: string;
  /** Its place in the topic, from 1. */
  readonly seq: number;
  /** The ordering key. */
  readonly key: string | null;
  readonly content_type: string | null;
  readonly trace_id: string;
  /** Headers that the source keeps, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Further attributes of CloudEvents. */
  readonly extensions: Readonly<Record<string, string>>;
  /** The JSON of the event, or a text; null when it is neither. */
  data: Data;
  /** What is no JSON and no UTF-8, as Base64. */
  readonly data_base64?: string;
}

/** An error that the host threw: what failed, and why. */
export interface HostError extends Error {
  readonly code: "denied" | "emit-topic" | "bad-output" | "host" | "thrown";
}

export interface Request {
  /** `GET` when left out. */
  method?: string;
  /** Absolute, http or https, to a host that the function is granted. */
  url: string;
  headers?: Record<string, string> | [string, string][];
  /** A string is sent as it is; anything else as JSON. */
  body?: string | object | null;
}

export interface Response {
  status: number;
  /** Names in lower case; repeated ones are joined by `, `. */
  headers: Record<string, string>;
  body: string;
}

/** What a function is told and may do beside returning a value. */
export interface Context {
  readonly trigger: string;
  readonly function: string;
  /** From 1; more when the event is tried again. */
  readonly attempt: number;
  /** When the run began, RFC 3339. */
  readonly now: string;
  readonly trace_id: string;
  /** The environment variables that it is granted. */
  readonly env: Readonly<Record<string, string | undefined>>;

  /** Sends an event to a topic, when the function ends well. @throws {HostError} */
  emit(topic: string, data: Output, options?: { key?: string }): void;

  /** Stores values by namespace and key. Changes take effect with the output, or not at all; the call itself reads them. */
  readonly kv: {
    /** Undefined when there is none. @throws {HostError} */
    get(namespace: string, key: string): any;
    /** @throws {HostError} */
    put(namespace: string, key: string, value: Output): void;
    /** @throws {HostError} */
    delete(namespace: string, key: string): void;
  };

  /** Sends a request and waits for the answer, whatever its status. @throws {HostError} */
  http(request: string | Request): Response;
}

/** The default export of a function. Undefined drops the event; null is a value. */
export type Handler<Data = any> = (event: Event<Data>, ctx: Context) => Output | undefined | void | Promise<Output | undefined | void>;

declare global {
  /** Log lines of the function. */
  interface Console {
    debug(...values: unknown[]): void;
    info(...values: unknown[]): void;
    log(...values: unknown[]): void;
    warn(...values: unknown[]): void;
    error(...values: unknown[]): void;
  }
  /** Its lines go to the log of the service with `log = true`; else nowhere. */
  var console: Console;

  interface JSON {
    /** A number with all its digits: `JSON.rawJSON("0.10")`. @throws {SyntaxError} for what is no JSON value, or is an object or array */
    rawJSON(text: string): RawJson;
    isRawJSON(value: unknown): value is RawJson;
  }
}
