/* The world `hexafn:function`, as its canonical ABI lays out what goes in and out. hexaFn makes a component of it. */
#include "guest.h"

/* Where the host puts what it hands over; it never asks for more of a place that it has. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, u32 had, u32 align, u32 len) {
  return room(len);
}

#define IMPORT(interface, name) \
  __attribute__((import_module("hexafn:function/" interface "@1.0.0"), import_name(name))) extern
#define P(text) (text).at, (text).len

IMPORT("logs", "log") void logs_log(int, const char *, u32);
IMPORT("topics", "emit") void topics_emit(const char *, u32, int, const char *, u32, const char *, u32);
IMPORT("variables", "get") void variables_get(const char *, u32, text *);
IMPORT("randomness", "next") u64 randomness_next(void);
IMPORT("clock", "now-ms") i64 clock_now_ms(void);
/* result<option<string>, string> */
typedef struct {
  u32 error, some_or_at, at_or_len, len;
} value;
IMPORT("keys", "get") void keys_get(const char *, u32, const char *, u32, value *);
IMPORT("keys", "put") void keys_put(const char *, u32, const char *, u32, const char *, u32);
IMPORT("keys", "delete") void keys_delete(const char *, u32, const char *, u32);
/* result<record { u16, list<…>, string }, string> */
typedef struct {
  u32 error, status_or_at, headers_or_len, headers_len;
  text body;
} answer;
IMPORT("web", "send")
void web_send(const char *, u32, const char *, u32, const void *, u32, int, const char *, u32, answer *);

extern text result;
static text failure;

void emit(text topic, text key, text json) { topics_emit(P(topic), key.at != 0, P(key), P(json)); }
void say(int level, text line) { logs_log(level, P(line)); }
u64 chance(void) { return randomness_next(); }
i64 now(void) { return clock_now_ms(); }

text env(text name) {
  text found;
  variables_get(P(name), &found);
  return found;
}

text kv_get(text space, text key, int *failed) {
  value found;
  keys_get(P(space), P(key), &found);
  *failed = found.error & 1;
  if (*failed) return (text){(const char *)(uintptr_t)found.some_or_at, found.at_or_len};
  return found.some_or_at & 1 ? (text){(const char *)(uintptr_t)found.at_or_len, found.len} : NOTHING;
}

void kv_put(text space, text key, text json) { keys_put(P(space), P(key), P(json)); }
void kv_delete(text space, text key) { keys_delete(P(space), P(key)); }

text request(text method, text url, text body, u32 *status) {
  answer found;
  web_send(P(method), P(url), 0, 0, body.at != 0, P(body), &found);
  if (found.error & 1) return *status = 0, (text){(const char *)(uintptr_t)found.status_or_at, found.headers_or_len};
  return *status = found.status_or_at & 0xffff, found.body;
}

void fail(text message) { failure = message; }

/* result<option<string>, string> */
static u32 given[4];

__attribute__((export_name("handle"))) u32 *component_handle(const char *at, u32 len, const char *ctx_at, u32 ctx_len) {
  event = (text){at, len}, ctx = (text){ctx_at, ctx_len};
  handle();
  given[0] = failure.at != 0;
  given[1] = failure.at ? (u32)(uintptr_t)failure.at : result.len != 0;
  given[2] = failure.at ? failure.len : (u32)(uintptr_t)result.at;
  given[3] = result.len;
  return given;
}
