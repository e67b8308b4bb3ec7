/* The five fields of a push event, as five.js makes them. It walks the text and copies the values as they stand there.
   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o five.wasm five.c */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))

extern char __heap_base;
static char *top;

/* One call, one instance: memory is never given back. */
EXPORT("hexafn_alloc") char *hexafn_alloc(int32_t len) {
  char *start = top ? top : &__heap_base;
  uintptr_t end = (uintptr_t)start + (uint32_t)len, have = __builtin_wasm_memory_size(0) * 65536u;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535u) / 65536u) == (uintptr_t)-1)
    return 0;
  top = (char *)end;
  return start;
}

static const char *end;

static const char *space(const char *at) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
    at++;
  return at;
}

/* Behind the string that begins at `at`. */
static const char *string(const char *at) {
  for (at++; at < end && *at != '"'; at++)
    if (*at == '\\')
      at++;
  return at + 1;
}

/* Behind the value that begins at `at`. */
static const char *value(const char *at) {
  if (at < end && *at == '"')
    return string(at);
  for (int depth = 0; at < end; at++) {
    if (*at == '"') {
      at = string(at) - 1;
    } else if (*at == '{' || *at == '[') {
      depth++;
    } else if (*at == '}' || *at == ']') {
      if (depth == 0)
        return at;
      if (--depth == 0)
        return at + 1;
    } else if (*at == ',' && depth == 0) {
      return at;
    }
  }
  return at;
}

/* The value of a member of the object at `at`, or 0. */
static const char *member(const char *at, const char *name) {
  if (!at || at >= end || *at != '{')
    return 0;
  for (at = space(at + 1); at < end && *at == '"';) {
    const char *letter = at + 1, *wanted = name;
    at = string(at);
    while (letter < at - 1 && *wanted && *letter == *wanted)
      letter++, wanted++;
    int same = letter == at - 1 && !*wanted;
    at = space(space(at) + 1);
    if (same)
      return at;
    at = space(value(at));
    if (at < end && *at == ',')
      at = space(at + 1);
  }
  return 0;
}

static int count(const char *at) {
  int n = 0;
  if (!at || at >= end || *at != '[')
    return 0;
  for (at = space(at + 1); at < end && *at != ']'; n++) {
    at = space(value(at));
    if (at < end && *at == ',')
      at = space(at + 1);
  }
  return n;
}

static char *out;

static void text(const char *from, const char *to) {
  while (from < to)
    *out++ = *from++;
}

static void word(const char *it) {
  while (*it)
    *out++ = *it++;
}

static void copy(const char *at) {
  if (at)
    text(at, value(at));
  else
    word("null");
}

EXPORT("hexafn_call") uint64_t hexafn_call(const char *input, int32_t len) {
  end = input + (uint32_t)len;
  const char *data = member(member(space(input), "event"), "data");
  const char *ref = member(data, "ref"), *prefix = "\"refs/heads/";
  char *result = hexafn_alloc(len + 128);
  if (!result)
    __builtin_trap();
  out = result;
  word("{\"repo\":");
  copy(member(member(data, "repository"), "full_name"));
  word(",\"branch\":");
  const char *branch = ref;
  while (branch && branch < end && *prefix && *branch == *prefix)
    branch++, prefix++;
  if (ref && !*prefix) {
    word("\"");
    text(branch, value(ref));
  } else {
    copy(ref);
  }
  word(",\"pusher\":");
  copy(member(member(data, "pusher"), "name"));
  word(",\"commit_count\":");
  char digits[12], *digit = digits + sizeof digits;
  int n = count(member(data, "commits"));
  do
    *--digit = '0' + n % 10;
  while (n /= 10);
  text(digit, digits + sizeof digits);
  word(",\"message\":");
  copy(member(member(data, "head_commit"), "message"));
  word("}");
  return (uint64_t)(uintptr_t)result << 32 | (uint32_t)(out - result);
}
