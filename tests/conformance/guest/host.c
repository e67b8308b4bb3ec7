/* The imports of module `hexafn`, for core modules and commands. */
#include "guest.h"

#define IMPORT(name) __attribute__((import_module("hexafn"), import_name(name))) extern
#define P(text) (text).at, (text).len

IMPORT("log") void hexafn_log(int, const char *, u32);
IMPORT("emit") void hexafn_emit(const char *, u32, const char *, u32, const char *, u32);
IMPORT("fail") void hexafn_fail(const char *, u32);
IMPORT("env") int hexafn_env(const char *, u32);
IMPORT("random") u64 hexafn_random(void);
IMPORT("now_ms") i64 hexafn_now_ms(void);
IMPORT("kv_get") int hexafn_kv_get(const char *, u32, const char *, u32);
IMPORT("kv_put") void hexafn_kv_put(const char *, u32, const char *, u32, const char *, u32);
IMPORT("kv_delete") void hexafn_kv_delete(const char *, u32, const char *, u32);
IMPORT("http") int hexafn_http(const char *, u32);
IMPORT("take") int hexafn_take(char *, u32);

static text take(void) {
  text all = NOTHING;
  char *piece = room(64);
  for (int got; (got = hexafn_take(piece, 64)) > 0;) all = joined(all, (text){piece, (u32)got});
  if (!all.at) all.at = piece;
  return all;
}

void emit(text topic, text key, text json) { hexafn_emit(P(topic), P(key), P(json)); }
void say(int level, text line) { hexafn_log(level, P(line)); }
u64 chance(void) { return hexafn_random(); }
i64 now(void) { return hexafn_now_ms(); }

#ifdef COMMAND
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name))) extern
WASI("fd_write") int fd_write(int, const text *, u32, u32 *);
WASI("proc_exit") void proc_exit(int);

/* As a program fails that knows nothing of hexaFn. */
void fail(text message) {
  u32 written;
  fd_write(2, &message, 1, &written);
  proc_exit(1);
}
#else
void fail(text message) { hexafn_fail(P(message)); }
#endif

text env(text name) {
  hexafn_env(P(name));
  return take();
}

text kv_get(text space, text key, int *failed) {
  int len = hexafn_kv_get(P(space), P(key));
  *failed = len == -2;
  return len == -1 ? NOTHING : take();
}

void kv_put(text space, text key, text json) { hexafn_kv_put(P(space), P(key), P(json)); }
void kv_delete(text space, text key) { hexafn_kv_delete(P(space), P(key)); }

text request(text method, text url, text body, u32 *status) {
  text json = joined(T("{\"method\":"), quoted(method));
  json = joined(joined(json, T(",\"url\":")), quoted(url));
  if (body.at) json = joined(joined(json, T(",\"body\":")), quoted(body));
  int len = hexafn_http(P(joined(json, T("}"))));
  text answer = take();
  *status = len == -2 ? 0 : (u32)number(get(answer, "status"));
  return *status ? plain(get(answer, "body")) : answer;
}
