/* A command of WASI preview 1: the input on standard input, the result on standard output. */
#include "guest.h"

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name))) extern
WASI("fd_read") int fd_read(int, const text *, u32, u32 *);
WASI("fd_write") int fd_write(int, const text *, u32, u32 *);

extern text result;

__attribute__((export_name("_start"))) void start(void) {
  u32 len = 0, room_for = 4096, got;
  char *bytes = room(room_for);
  for (;;) {
    text rest = {bytes + len, room_for - len};
    if (fd_read(0, &rest, 1, &got) || !got) break;
    len += got;
    if (len < room_for) continue;
    char *larger = room(room_for *= 2);
    for (u32 i = 0; i < len; i++) larger[i] = bytes[i];
    bytes = larger;
  }
  text input = {bytes, len};
  event = get(input, "event"), ctx = get(input, "ctx");
  handle();
  while (result.len) {
    if (fd_write(1, &result, 1, &got)) __builtin_trap();
    result.at += got, result.len -= got;
  }
}
