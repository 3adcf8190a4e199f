/*
 * request_body: what a balanced request's body, JSON or a form, says that the engine must know, and how the body goes on
 * to a provider: the client's bytes with at most two spans replaced. Nothing is ever re-serialised.
 *
 * Thread: any; no state but the caller's. Spans point into the body or into the arena.
 */
#ifndef MOONGATE_WIRE_REQUEST_BODY_H
#define MOONGATE_WIRE_REQUEST_BODY_H

#include "base/arena.h"
#include "base/span.h"

#define REQUEST_MODEL_MAX    256
#define REQUEST_SEGMENTS_MAX 5

/* A change: `len` bytes at `at` become `text`. */
struct splice {
  size_t at, len;
  struct span text;
};

struct request_body {
  struct span model;          /* unescaped; empty: none was named */
  size_t model_at, model_len; /* its raw value; len 0: none */
  size_t object_open;         /* offset of the '{' */
  bool object_is_empty, is_stream;
  struct splice
      usage; /* stream_options.include_usage, for providers that would add it; text empty: nothing to do */
  double max_tokens;     /* max_completion_tokens, else max_tokens; NaN: none */
  struct span cache_key; /* prompt_cache_key as written, without quotes; empty: none */
};

/* Why a body is refused (400). */
struct request_fault {
  const char *code; /* stable, machine-readable */
  char message[200];
};

/* No body, or one that is not read: nothing is known. */
void request_body_init(struct request_body *b);
/*
 * Reads a JSON body. `is_chat` demands messages, a non-empty array. A repeated model, messages, stream or
 * stream_options is refused: providers disagree about which one counts. False with *fault filled when it is not
 * acceptable.
 */
bool request_body_read(struct request_body *b, struct request_fault *fault, struct span text, bool is_chat,
                       struct arena *arena) MUST_CHECK;
/*
 * Reads model and stream out of a form (multipart/form-data), which goes on to providers byte for byte: its model
 * chooses among them and is never replaced.
 */
bool request_body_read_form(struct request_body *b, struct request_fault *fault, struct span form,
                            struct span boundary, struct arena *arena) MUST_CHECK;
/*
 * The segments to send. `model` replaces the one in the body, or is inserted when there is none (ptr NULL: it stays);
 * with_usage adds what b->usage says.
 */
unsigned request_body_splice(const struct request_body *b, struct span out[REQUEST_SEGMENTS_MAX],
                             struct span text, struct span model, bool with_usage, struct arena *arena);

#endif
