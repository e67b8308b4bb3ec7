/* A program over WASI, as compilers and the C library make it: what it finds of the machine goes to standard error.
   clang --target=wasm32-wasi -O2 -o command.wasm command.c */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(void) {
  static char input[1 << 16];
  size_t len = fread(input, 1, sizeof input - 1, stdin);
  if (strstr(input, "\"exit\"")) {
    fputs("no more\n", stderr);
    exit(3);
  }
  if (strstr(input, "\"sleep\"")) sleep(1000);
  if (strstr(input, "\"nap\"")) usleep(3000);
  if (strstr(input, "\"drop\"")) return 0;
  FILE *file = fopen("/etc/passwd", "r");
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  unsigned char random[8];
  getentropy(random, sizeof random);
  fprintf(stderr, "file %s, at %lld, random %02x%02x\n", file ? "open" : "refused", (long long)now.tv_sec, random[0], random[1]);
  const char *token = getenv("TOKEN");
  printf("{\"read\":%zu,\"token\":\"%s\"}\n", len, token ? token : "none");
}
