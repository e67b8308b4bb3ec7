/* A core module: the input lies in its memory, and the result. */
#include "guest.h"

extern text result;

__attribute__((export_name("hexafn_alloc"))) char *hexafn_alloc(u32 len) { return room(len); }

__attribute__((export_name("hexafn_call"))) u64 hexafn_call(const char *at, u32 len) {
  text input = {at, len};
  event = get(input, "event"), ctx = get(input, "ctx");
  handle();
  return result.len ? (u64)(uintptr_t)result.at << 32 | result.len : 0;
}
