/*
 * json: a strict, bounded scanner that finds top-level members without building a tree, and a small writer.
 *
 * Accepts exactly RFC 8259 texts that are valid UTF-8 (no overlong forms, no surrogate code points in UTF-8;
 * lone surrogates written as \uXXXX escapes are allowed by the RFC's grammar and pass), nesting at most
 * JSON_MAX_DEPTH, without a byte order mark. Nothing is copied or allocated; spans point into the text.
 * Thread: any.
 */
#ifndef MOONGATE_WIRE_JSON_H
#define MOONGATE_WIRE_JSON_H

#include "base/buf.h"
#include "base/span.h"

#define JSON_MAX_DEPTH 128

enum json_type {
  JSON_ABSENT,
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_NUMBER,
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT
};

/* A member that the caller looks for; `name` (unescaped) is the caller's, the rest is filled by the scan. */
struct json_member {
  struct span name;
  enum json_type type; /* of the last occurrence; JSON_ABSENT when there is none */
  struct span value;   /* raw bytes of the last occurrence; a string with its quotes */
  unsigned count;      /* occurrences, names compared after unescaping */
  bool is_empty;       /* an array or object without elements */
};

struct json_object {
  size_t open, close; /* offsets of '{' and of its '}' */
  bool is_empty;      /* no members at all */
};

struct json_fault {
  size_t offset; /* where the text stops being JSON */
  const char
      *message; /* static, without a full stop: "expected ',' or '}'", "invalid UTF-8", "nested too deep" … */
};

/*
 * Validates the whole text, which must be one object (blanks around it allowed), and fills members[0 … n-1]
 * (n <= 16). Returns 0; ERR_SYNTAX with *fault set when it is not JSON or not UTF-8; ERR_UNSUPPORTED with
 * *fault set when it is valid JSON but no object at the top; ERR_TOO_LARGE when nested too deep.
 */
int json_scan_object(struct json_member *members, size_t n, struct json_object *object,
                     struct json_fault *fault, struct span text) MUST_CHECK;

/* Validates any JSON text (RFC 8259, any value at the top). */
int json_validate(struct json_fault *fault, struct span text) MUST_CHECK;

/*
 * The value of a raw string (with its quotes) that the scanner accepted, as UTF-8. Returns 0, or ERR_TOO_LARGE
 * when out_cap is too small, or ERR_SYNTAX for a lone surrogate escape (it has no UTF-8 form).
 */
int json_unescape(char *out, size_t out_cap, size_t *out_len, struct span raw) MUST_CHECK;

/*
 * Walks the elements of an array that the scanner accepted: *at starts at 0. False behind the last one.
 */
bool json_array_next(struct span *element, size_t *at, struct span array);

/* 1-based line and column (in bytes) of an offset, for error messages. */
void json_locate(unsigned *line, unsigned *column, struct span text, size_t offset);

/*
 * Writer: values are appended to a buffer with commas set by the writer. The buffer's maximum must have been
 * chosen large enough (see buf_put). Strings are escaped; bytes that are not valid UTF-8 become U+FFFD, so
 * that what is written is always valid JSON.
 */
struct json_writer {
  struct buf *out;
  bool needs_comma;
};

void json_begin(struct json_writer *w, struct buf *out);
void json_open(struct json_writer *w, char bracket);  /* '{' or '[' */
void json_close(struct json_writer *w, char bracket); /* '}' or ']' */
void json_key(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, struct span s);
void json_cstring(struct json_writer *w, const char *s); /* NULL is written as null */
void json_int(struct json_writer *w, int64_t n);
void json_double(struct json_writer *w, double x); /* NaN and infinities are written as null */
void json_bool(struct json_writer *w, bool b);
void json_null(struct json_writer *w);

#endif
