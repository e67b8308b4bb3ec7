/* What the programs in C of the conformance suite use: JSON read in place and written piece by piece, and the host as a
   core module, a command or a component reaches it. One call, one instance: memory is never given back. */
#include <stdint.h>

typedef int64_t i64;
typedef uint64_t u64;
typedef uint32_t u32;

/* A piece of text, or of JSON; without a place when there is none. */
typedef struct {
  const char *at;
  u32 len;
} text;

enum { DEBUG, INFO, WARN, ERROR };

#define T(literal) ((text){literal, sizeof(literal) - 1})
#define NOTHING ((text){0, 0})

/* The input: two JSON objects. */
extern text event, ctx;

/* The program of the case. What it writes is the result; nothing drops the event. */
void handle(void);

/* Memory. */
char *room(u32 len);

/* Reading JSON: the value at a path such as `data.lines.0.price`, as it is written; nothing when it is absent. */
text get(text json, const char *path);
/* Gives the elements of an array or the members of an object one by one, from `at` = 0 on; 0 when there is none left. */
int each(text json, u32 *at, text *key, text *value);
u32 count(text json);
i64 number(text json);
double decimal(text json);
/* The characters of a JSON text, without quotes and escapes. */
text plain(text json);

int same(text a, text b);
text joined(text a, text b);
text digits(i64 number);
/* A text as JSON. */
text quoted(text plain);

/* Appends to the result. */
void out(text json);
#define OUT(literal) out(T(literal))
/* Appends `"name":value`, with a comma before it unless it is the first of its object. */
void member(const char *name, text json);

/* The host. A key or a body that is NOTHING is none. */
void emit(text topic, text key, text json);
void say(int level, text line);
/* The last that a program does: `return fail(T("why"));` */
void fail(text message);
text env(text name);
u64 chance(void);
i64 now(void);
/* NOTHING when there is no such key; of a store that failed the message, with `failed` set. */
text kv_get(text space, text key, int *failed);
void kv_put(text space, text key, text json);
void kv_delete(text space, text key);
/* The body of the answer and its status, or the message with status 0. */
text request(text method, text url, text body, u32 *status);
