// What hexaFn offers to functions in C and C++: imports of the module `hexafn`. What is not called is not imported.
//
// Texts are UTF-8 with a length, without a zero at the end. See docs/runtimes/wasm.md.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEXAFN_IMPORT(name) __attribute__((import_module("hexafn"), import_name(#name)))

// Writes a log line. Level: 0 debug, 1 info, 2 warn, 3 error.
HEXAFN_IMPORT(log) void hexafn_log(int32_t level, const char *text, size_t length);

// Ends the run with the error `thrown` and this message.
HEXAFN_IMPORT(fail) _Noreturn void hexafn_fail(const char *text, size_t length);

// Milliseconds since 1970.
HEXAFN_IMPORT(now_ms) int64_t hexafn_now_ms(void);

// The next random number: the same sequence when the same event is run again.
HEXAFN_IMPORT(random) int64_t hexafn_random(void);

// Looks up a variable of the setting `env`, and gives the length of its value, for hexafn_take.
HEXAFN_IMPORT(env) int32_t hexafn_env(const char *name, size_t name_length);

// Sends an event to a topic of the setting `emit`. The data is JSON; a key of length 0 is none.
HEXAFN_IMPORT(emit)
void hexafn_emit(const char *topic, size_t topic_length, const char *key, size_t key_length, const char *data,
                 size_t data_length);

// Looks up a value in a namespace of the setting `kv`: the length of its JSON, for hexafn_take; -1 when there is none,
// -2 when it failed.
HEXAFN_IMPORT(kv_get) int32_t hexafn_kv_get(const char *ns, size_t ns_length, const char *key, size_t key_length);

// Stores JSON; takes effect with the result.
HEXAFN_IMPORT(kv_put)
void hexafn_kv_put(const char *ns, size_t ns_length, const char *key, size_t key_length, const char *data,
                   size_t data_length);

// Removes a value; takes effect with the result.
HEXAFN_IMPORT(kv_delete) void hexafn_kv_delete(const char *ns, size_t ns_length, const char *key, size_t key_length);

// Sends a request, written as JSON, to a host of the setting `http`: the length of the answer as JSON, for hexafn_take;
// -2 when it failed.
HEXAFN_IMPORT(http) int32_t hexafn_http(const char *request, size_t length);

// Copies at most `capacity` bytes of what was looked up last, and says how many; 0 when nothing is left. After -2 it gives
// the message.
HEXAFN_IMPORT(take) int32_t hexafn_take(char *to, size_t capacity);

#ifdef __cplusplus
}
#endif
