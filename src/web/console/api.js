// Questions to the service, and the token that they carry. It is kept in the tab's session, and never in an address.

const KEY = "hexafn-token";
/** How long an answer may take. */
const PATIENCE = 8000;

export const session = {
  get token() {
    return sessionStorage.getItem(KEY);
  },
  set token(token) {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  },
};

/** What was answered, when it was not what was asked for. `status` 0: nobody answered. */
export class Refused extends Error {
  constructor(status, message, wait) {
    super(message);
    this.status = status;
    /** Seconds to wait before the next question, where the service said so. */
    this.wait = wait;
  }
}

/** The answer to GET as JSON. */
export async function get(path, token = session.token) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response, text;
  try {
    response = await fetch(path, { headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(PATIENCE) });
    text = await response.text();
  } catch {
    throw new Refused(0, "hexaFn does not answer.");
  }
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy in between answers with a page of its own.
    throw new Refused(response.ok ? 502 : response.status, `The answer (${response.status}) is not from hexaFn.`);
  }
  if (response.ok) return body;
  throw new Refused(response.status, String(body?.detail ?? response.statusText), Number(response.headers.get("retry-after")) || undefined);
}
