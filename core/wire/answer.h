/*
 * answer: reads along while a provider's answer passes, and picks what the session table, the statistics and
 * the commit decision need: the completion id, usage, and how an event stream ended. Bytes are never changed
 * and may be split anywhere.
 *
 * Thread: one. Memory: the struct itself; lines and strings may be of any length, since only names, ids and
 * numbers are ever kept. What is malformed ends the search in its document or event, nothing else.
 */
#ifndef MOONGATE_WIRE_ANSWER_H
#define MOONGATE_WIRE_ANSWER_H

#include "base/span.h"

#define ANSWER_ID_MAX   128
#define ANSWER_WORD_MAX 24 /* longer than any name that is looked for */

enum answer_form {
  ANSWER_OPAQUE, /* no JSON: nothing is looked for */
  ANSWER_JSON,   /* one JSON document */
  ANSWER_SSE,    /* text/event-stream (WHATWG HTML 9.2): data lines with JSON, perhaps "[DONE]" */
};

struct answer {
  enum answer_form form;
  /* Found so far: */
  char id
      [ANSWER_ID_MAX]; /* the first top-level "id" that is not empty; SSE: also that in "message", "response" */
  unsigned id_len;     /* 0: none yet; an id that is longer or not printable ASCII is left out */
  int64_t tokens_in;   /* usage.prompt_tokens, else usage.input_tokens; -1: unknown */
  int64_t tokens_out; /* usage.completion_tokens, else usage.output_tokens; -1: unknown */
  uint64_t n_events;  /* SSE: events with at least one data line that have ended */
  bool
      is_done; /* SSE: "data: [DONE]" came, or an Anthropic "message_stop" / a Responses "response.completed",
                             ".incomplete" or ".failed" event. JSON: the document is complete */
  bool has_finish; /* SSE: a choice with a non-null finish_reason came */
  bool has_error;  /* JSON or SSE: a top-level "error" member that is not null came; SSE: also that in
                             "message" or "response", and an event of the type "error" */
  /* Below is the scanner's own state. */
  struct answer_json {
    int64_t number; /* of the number that is being read; -1: it is none that counts */
    uint32_t depth; /* open brackets of a value that nobody looks into */
    uint16_t hex;
    uint8_t state, place, role, string_kind;
    uint8_t word_len, hex_len;
    bool is_kept, is_unfit; /* the string that is being read: its bytes are kept; they cannot be */
    bool has_prompt_tokens, has_completion_tokens;
    bool is_done_type, is_error_type; /* by the event's "type" */
    char word[ANSWER_WORD_MAX];
  } json;
  struct answer_sse {
    uint8_t state, field_len;
    bool is_after_cr;
    bool is_event_started, has_data;
    bool is_done_event, is_error_event; /* by the event's name */
    char field[ANSWER_WORD_MAX];
  } sse;
};

void answer_init(struct answer *a, enum answer_form form);
/* Reads the next bytes. */
void answer_feed(struct answer *a, const char *bytes, size_t len);
/*
 * SSE: true when all bytes fed so far end with a complete event (or comment line, or nothing came yet), so that
 * an event of our own may follow. Between the CR and the LF of the blank line it is true as well: the LF may
 * then be left out. Always false for the other forms.
 */
bool answer_is_at_event_end(const struct answer *a);
/* Ends the reading; what was found stays. */
void answer_release(struct answer *a);

/* The form for a Content-Type value (parameters ignored, case ignored; "+json" counts as JSON). */
enum answer_form answer_form_of(struct span content_type);

#endif
