// Prices an order in cents, and tells the warehouse about large ones.
#include "hexafn.h"
#include "json.h"
#include <inttypes.h>

// All of standard input, with a zero at its end.
static char *read_input(void) {
  size_t length = 0, capacity = 4096;
  char *input = malloc(capacity);
  while (input != NULL) {
    length += fread(input + length, 1, capacity - length - 1, stdin);
    if (feof(stdin) || ferror(stdin)) break;
    capacity *= 2;
    input = realloc(input, capacity);
  }
  if (input != NULL) input[length] = 0;
  return input;
}

// What is written to standard error, with a status other than 0, is the error `thrown`.
static int fail(const char *message) {
  fprintf(stderr, "%s\n", message);
  return 1;
}

int main(void) {
  char *input = read_input();
  if (input == NULL) return fail("no memory for the event");
  const char *order = json_member(json_member(json_space(input), "event"), "data");
  const char *lines = json_member(order, "lines");
  size_t length;
  char *id = json_text(json_member(order, "id"), &length);
  if (id == NULL || lines == NULL) return fail("an order has `id` and `lines`");

  int64_t items = 0, total = 0;
  for (const char *line = json_first(lines); line != NULL; line = json_next(line)) {
    int64_t price, count;
    if (!json_integer(json_member(line, "price"), &price) || !json_integer(json_member(line, "count"), &count)) {
      return fail("a line has `price` and `count`, whole numbers");
    }
    items += count;
    total += price * count;
  }
  if (total > 10000) {
    char *data;
    size_t size;
    FILE *out = open_memstream(&data, &size);
    if (out == NULL) return fail("no memory for an event");
    fputs("{\"id\":", out);
    json_write(out, id, length);
    fprintf(out, ",\"total\":%" PRId64 "}", total);
    fclose(out);
    hexafn_emit("orders.large", strlen("orders.large"), id, length, data, size);
  }
  printf("{\"id\":");
  json_write(stdout, id, length);
  printf(",\"items\":%" PRId64 ",\"total\":%" PRId64 "}", items, total);
  return 0;
}
