/*
 * go_json: says about a text what Go's encoding/json says: whether it is JSON, and if not, in Go's words.
 * Providers are written in Go and quote these words in what they answer. For token_check.h alone.
 *
 * Go takes any bytes in strings, and nesting to 10,000. No recursion, nothing allocated. Thread: any.
 */
#ifndef MOONGATE_TESTS_GO_JSON_H
#define MOONGATE_TESTS_GO_JSON_H

#include "base/span.h"

#define GO_JSON_ERROR_MAX 127
#define GO_JSON_DEPTH_MAX 10000

enum go_json_type {
  GO_JSON_NULL,
  GO_JSON_BOOL,
  GO_JSON_NUMBER,
  GO_JSON_STRING,
  GO_JSON_ARRAY,
  GO_JSON_OBJECT
};

/* A value and its raw bytes. */
struct go_json {
  enum go_json_type type;
  struct span raw;
};

/* The value of a whole text. False with `error` set when it is no JSON. */
bool go_json_read(struct go_json *out, char error[GO_JSON_ERROR_MAX + 1], struct span text);

/* Walks the members of an object that go_json_read() has accepted: *at starts at 0. The name has its quotes. */
bool go_json_next(struct span *name, struct go_json *value, size_t *at, struct span object);

/*
 * The text of a string that was accepted. Returns its length, of which at most `cap` bytes are written; what
 * is not UTF-8 becomes U+FFFD.
 */
size_t go_json_unquote(char *out, size_t cap, struct span raw);

#endif
