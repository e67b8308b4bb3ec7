/* The world `hexafn:function` in C over a C library, which brings WASI preview 1 along: a core module, of which hexaFn makes a
   component. clang --target=wasm32-wasi -mexec-model=reactor -O2 -o library.wasm library.c */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned u32;

__attribute__((import_module("hexafn:function/topics@1.0.0"), import_name("emit")))
void emit(const char *topic, u32 topic_len, u32 has_key, const char *key, u32 key_len, const char *data, u32 data_len);

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, u32 had, u32 align, u32 len) {
  void *at = realloc(old, len);
  if (!at && len) abort();
  return at;
}

static u32 result[4];

__attribute__((export_name("handle")))
u32 *handle(const char *event, u32 event_len, const char *ctx, u32 ctx_len) {
  printf("%u bytes\n", event_len);
  if (memmem(event, event_len, "\"emit\"", 6)) emit("orders.large", 12, 0, 0, 0, "1", 1);
  if (memmem(event, event_len, "\"elsewhere\"", 11)) emit("other", 5, 0, 0, 0, "1", 1);
  if (memmem(event, event_len, "\"exit\"", 6)) exit(0);
  if (memmem(event, event_len, "\"status\"", 8)) {
    fputs("broken\n", stderr);
    exit(4);
  }
  char *text = malloc(32);
  result[1] = 1, result[2] = (u32)text, result[3] = snprintf(text, 32, "{\"len\":%u}", event_len);
  return result;
}
