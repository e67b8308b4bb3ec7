// Reads JSON that is known to be well formed, as what hexaFn hands to a function is, and writes texts as JSON.
//
// A value is a pointer to its first character. Nothing is copied but texts, and nothing is given back: one call is one
// instance.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *json_space(const char *at) {
  while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
  return at;
}

// The character after a value.
static inline const char *json_skip(const char *at) {
  int depth = 0;
  do {
    at = json_space(at);
    if (*at == '"') {
      for (at++; *at != '"'; at++) at += *at == '\\';
      at++;
    } else if (*at == '{' || *at == '[') {
      depth++;
      at++;
    } else if (*at == '}' || *at == ']') {
      depth--;
      at++;
    } else if (*at == ',' || *at == ':') {
      at++;
    } else {
      at += strcspn(at, ",:]}\" \t\n\r");
    }
  } while (depth > 0);
  return at;
}

// The first element of an array, or the first name of an object; NULL when there is none, or when it is neither.
static inline const char *json_first(const char *value) {
  if (value == NULL || (*value != '[' && *value != '{')) return NULL;
  value = json_space(value + 1);
  return *value == ']' || *value == '}' ? NULL : value;
}

// What comes after an element of an array; NULL after the last.
static inline const char *json_next(const char *element) {
  element = json_space(json_skip(element));
  return *element == ',' ? json_space(element + 1) : NULL;
}

// A member of an object; NULL when it has none of that name, or when it is no object. Names are compared as written.
static inline const char *json_member(const char *object, const char *name) {
  if (object == NULL || *object != '{') return NULL;
  size_t length = strlen(name);
  for (const char *at = json_first(object); at != NULL;) {
    const char *end = json_skip(at);
    const char *value = json_space(json_space(end) + 1);
    if ((size_t)(end - at) == length + 2 && memcmp(at + 1, name, length) == 0) return value;
    at = json_next(value);
  }
  return NULL;
}

// A whole number; false when it is none, or when it does not fit.
static inline bool json_integer(const char *value, int64_t *to) {
  if (value == NULL || (*value != '-' && (*value < '0' || *value > '9'))) return false;
  char *end;
  long long read = strtoll(value, &end, 10);
  if (end != json_skip(value) || read == INT64_MAX || read == INT64_MIN) return false;
  *to = read;
  return true;
}

static inline uint32_t json_hex(const char *at) {
  char digits[5] = {at[0], at[1], at[2], at[3], 0};
  return (uint32_t)strtoul(digits, NULL, 16);
}

// A text as UTF-8, with a zero at its end; NULL when it is none. A zero may also be within it: `length` counts.
static inline char *json_text(const char *value, size_t *length) {
  if (value == NULL || *value != '"') return NULL;
  char *text = malloc((size_t)(json_skip(value) - value));
  if (text == NULL) return NULL;
  char *to = text;
  for (const char *at = value + 1; *at != '"'; at++) {
    if (*at != '\\') {
      *to++ = *at;
      continue;
    }
    at++;
    const char *plain = strchr("b\bf\fn\nr\rt\t", *at);
    if (*at != 'u') {
      *to++ = plain != NULL ? plain[1] : *at;
      continue;
    }
    uint32_t code = json_hex(at + 1);
    at += 4;
    if (code >= 0xd800 && code < 0xdc00) {
      // The second half of a pair: no lone one gets into hexaFn.
      code = 0x10000 + ((code - 0xd800) << 10) + (json_hex(at + 3) - 0xdc00);
      at += 6;
    }
    if (code < 0x80) {
      *to++ = (char)code;
    } else if (code < 0x800) {
      *to++ = (char)(0xc0 | code >> 6);
      *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
      *to++ = (char)(0xe0 | code >> 12);
      *to++ = (char)(0x80 | (code >> 6 & 63));
      *to++ = (char)(0x80 | (code & 63));
    } else {
      *to++ = (char)(0xf0 | code >> 18);
      *to++ = (char)(0x80 | (code >> 12 & 63));
      *to++ = (char)(0x80 | (code >> 6 & 63));
      *to++ = (char)(0x80 | (code & 63));
    }
  }
  *to = 0;
  *length = (size_t)(to - text);
  return text;
}

// Writes a text as JSON.
static inline void json_write(FILE *out, const char *text, size_t length) {
  static const char names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
  fputc('"', out);
  for (size_t at = 0; at < length; at++) {
    unsigned char byte = (unsigned char)text[at];
    const char *name = byte == 0 ? NULL : strchr(names, byte);
    if (byte >= 0x20 && byte != '"' && byte != '\\') {
      fputc(byte, out);
    } else if (name != NULL && (name - names) % 2 == 0) {
      fprintf(out, "\\%c", name[1]);
    } else {
      fprintf(out, "\\u%04x", byte);
    }
  }
  fputc('"', out);
}
