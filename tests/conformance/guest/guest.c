/* What does not depend on the shape of the module. */
#include "guest.h"

extern char __heap_base;
static char *heap = &__heap_base;
text event, ctx;
text result;
static u32 result_room;

void *memcpy(void *to, const void *from, __SIZE_TYPE__ len) {
  for (__SIZE_TYPE__ i = 0; i < len; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

void *memset(void *to, int byte, __SIZE_TYPE__ len) {
  for (__SIZE_TYPE__ i = 0; i < len; i++) ((char *)to)[i] = (char)byte;
  return to;
}

char *room(u32 len) {
  char *place = heap;
  u32 end = ((u32)(uintptr_t)heap + len + 7) & ~7u;
  u32 have = __builtin_wasm_memory_size(0) * 65536u;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) / 65536) == (__SIZE_TYPE__)-1) __builtin_trap();
  heap = (char *)(uintptr_t)end;
  return place;
}

static u32 length(const char *text) {
  u32 len = 0;
  while (text[len]) len++;
  return len;
}

static const char *space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
  return at;
}

/* What follows the value that begins here. */
static const char *skip(const char *at, const char *end) {
  int depth = 0;
  do {
    at = space(at, end);
    if (*at == '"') {
      for (at++; *at != '"'; at++)
        if (*at == '\\') at++;
      at++;
    } else if (*at == '{' || *at == '[') {
      depth++, at++;
    } else if (*at == '}' || *at == ']') {
      depth--, at++;
    } else if (*at == ',' || *at == ':') {
      at++;
    } else {
      while (at < end && *at != ',' && *at != '}' && *at != ']' && *at != ':' && *at != ' ' && *at != '\n') at++;
    }
  } while (depth > 0 && at < end);
  return at;
}

int each(text json, u32 *at, text *key, text *value) {
  const char *end = json.at + json.len, *p = json.at + *at;
  if (!json.len || (*json.at != '{' && *json.at != '[')) return 0;
  p = space(p + 1, end); /* the bracket, or the comma before */
  if (p >= end || *p == '}' || *p == ']') return 0;
  *key = NOTHING;
  if (*json.at == '{') {
    const char *after = skip(p, end);
    *key = (text){p, after - p};
    p = space(space(after, end) + 1, end);
  }
  const char *after = skip(p, end);
  *value = (text){p, after - p};
  *at = space(after, end) - json.at;
  return 1;
}

u32 count(text json) {
  u32 at = 0, n = 0;
  text key, value;
  while (each(json, &at, &key, &value)) n++;
  return n;
}

text get(text json, const char *path) {
  while (*path) {
    u32 len = 0, at = 0, index = 0, wanted = 0;
    while (path[len] && path[len] != '.') wanted = wanted * 10 + (u32)(path[len++] - '0');
    text key, value, found = NOTHING;
    while (each(json, &at, &key, &value)) {
      int fits = key.at ? same(plain(key), (text){path, len}) : index++ == wanted;
      if (fits) found = value;
    }
    json = found;
    path += path[len] ? len + 1 : len;
  }
  return json;
}

i64 number(text json) {
  i64 value = 0;
  int negative = json.len && *json.at == '-';
  for (u32 i = negative; i < json.len && json.at[i] >= '0' && json.at[i] <= '9'; i++) value = value * 10 + (json.at[i] - '0');
  return negative ? -value : value;
}

double decimal(text json) {
  double value = 0, part = 1;
  int negative = json.len && *json.at == '-', fraction = 0;
  for (u32 i = negative; i < json.len; i++) {
    if (json.at[i] == '.') fraction = 1;
    else value = value * 10 + (json.at[i] - '0'), part *= fraction ? 10 : 1;
  }
  return (negative ? -value : value) / part;
}

static u32 hex(const char *at) {
  u32 value = 0;
  for (int i = 0; i < 4; i++) value = value << 4 | (u32)(at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
  return value;
}

static char *utf8(char *to, u32 c) {
  if (c < 0x80) return *to++ = (char)c, to;
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  *to++ = (char)((0xf00 >> (more + 1)) | c >> 6 * more);
  while (more--) *to++ = (char)(0x80 | (c >> 6 * more & 0x3f));
  return to;
}

text plain(text json) {
  if (json.len < 2 || *json.at != '"') return NOTHING;
  char *start = room(json.len), *to = start;
  for (const char *p = json.at + 1, *end = json.at + json.len - 1; p < end; p++) {
    if (*p != '\\') {
      *to++ = *p;
      continue;
    }
    char c = *++p;
    if (c == 'u') {
      u32 code = hex(p + 1);
      p += 4;
      if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code & 0x3ff) << 10 | (hex(p + 3) & 0x3ff));
        p += 6;
      }
      to = utf8(to, code);
    } else {
      *to++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
    }
  }
  return (text){start, to - start};
}

text quoted(text plain) {
  char *start = room(plain.len * 6 + 2), *to = start;
  *to++ = '"';
  for (u32 i = 0; i < plain.len; i++) {
    unsigned char c = plain.at[i];
    if (c < 32) {
      *to++ = '\\', *to++ = 'u', *to++ = '0', *to++ = '0', *to++ = c < 16 ? '0' : '1', *to++ = "0123456789abcdef"[c & 15];
    } else {
      if (c == '"' || c == '\\') *to++ = '\\';
      *to++ = (char)c;
    }
  }
  *to++ = '"';
  return (text){start, to - start};
}

int same(text a, text b) {
  if (a.len != b.len) return 0;
  for (u32 i = 0; i < a.len; i++)
    if (a.at[i] != b.at[i]) return 0;
  return 1;
}

text joined(text a, text b) {
  char *to = room(a.len + b.len);
  memcpy(to, a.at, a.len);
  memcpy(to + a.len, b.at, b.len);
  return (text){to, a.len + b.len};
}

text digits(i64 number) {
  char *end = room(24) + 24, *at = end;
  u64 rest = number < 0 ? -(u64)number : (u64)number;
  do *--at = (char)('0' + rest % 10);
  while (rest /= 10);
  if (number < 0) *--at = '-';
  return (text){at, end - at};
}

void out(text json) {
  if (result.len + json.len > result_room) {
    result_room = (result.len + json.len) * 2;
    char *larger = room(result_room);
    memcpy(larger, result.at, result.len);
    result.at = larger;
  }
  memcpy((char *)result.at + result.len, json.at, json.len);
  result.len += json.len;
}

void member(const char *name, text json) {
  if (result.len && result.at[result.len - 1] != '{') OUT(",");
  out(quoted((text){name, length(name)}));
  OUT(":");
  out(json.at ? json : T("null"));
}
