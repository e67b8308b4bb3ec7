/* The interface of hexaFn in C, without a library: gives its input back.
   clang --target=wasm32 -O2 -g -nostdlib -Wl,--no-entry -Wl,--allow-undefined -o echo.wasm echo.c */
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("hexafn"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("log") void hexafn_log(int32_t level, const char *text, int32_t len);

extern char __heap_base;

/* One call, one instance: memory is never given back. */
EXPORT("hexafn_alloc") char *hexafn_alloc(int32_t len) {
  char *end = &__heap_base + len;
  uintptr_t have = __builtin_wasm_memory_size(0) * 65536u;
  if ((uintptr_t)end > have && __builtin_wasm_memory_grow(0, ((uintptr_t)end - have + 65535u) / 65536u) == (uintptr_t)-1)
    return 0;
  return &__heap_base;
}

EXPORT("hexafn_call") uint64_t hexafn_call(const char *input, int32_t len) {
  hexafn_log(1, "from C", 6);
  return (uint64_t)(uintptr_t)input << 32 | (uint32_t)len;
}
