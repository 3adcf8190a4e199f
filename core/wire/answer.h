/*
 * answer: reads along while a provider's answer passes, and picks what the session table, the statistics and
 * the commit decision need: the completion id, usage, and how an event stream ended. Bytes are never changed
 * and may be split anywhere.
 *
 * Thread: one. Memory: the struct itself plus, while an event line is split across reads, a side buffer of at
 * most ANSWER_LINE_MAX bytes (a longer line is passed over); freed as soon as the line has ended.
 */
#ifndef MOONGATE_WIRE_ANSWER_H
#define MOONGATE_WIRE_ANSWER_H

#include "base/buf.h"
#include "base/span.h"

#define ANSWER_ID_MAX   128
#define ANSWER_LINE_MAX 16384

enum answer_form {
  ANSWER_OPAQUE, /* no JSON: nothing is looked for */
  ANSWER_JSON,   /* one JSON document */
  ANSWER_SSE,    /* text/event-stream (WHATWG HTML 9.2): data lines with JSON, perhaps "[DONE]" */
};

struct answer {
  enum answer_form form;
  /* Found so far: */
  char id[ANSWER_ID_MAX]; /* top-level "id" of the document or of the first event that has one */
  unsigned id_len;        /* 0: none yet; a longer or escaped-beyond-ASCII id is left out */
  int64_t tokens_in;      /* usage.prompt_tokens or usage.input_tokens; -1: unknown */
  int64_t tokens_out;     /* usage.completion_tokens or usage.output_tokens; -1: unknown */
  uint64_t n_events;      /* SSE: events with at least one data line that have ended */
  bool is_done;           /* SSE: "data: [DONE]" came, or an Anthropic "message_stop" / a Responses "response.completed",
                             ".incomplete" or ".failed" event. JSON: the document is complete */
  bool has_finish;        /* SSE: a choice with a non-null finish_reason came */
  bool has_error;         /* JSON or SSE: a top-level "error" member that is not null came */
  /* Below is the scanner's own state. */
  struct answer_json {
    uint8_t state, depth_state;
    uint16_t depth, key_len;
    char key[24];
    bool in_usage;
    uint8_t target; /* which value is being captured */
    int64_t number;
    uint8_t skip;
  } json;
  struct buf line; /* SSE: the unfinished line */
  uint8_t sse_state;
  bool event_has_data;
  bool line_skipped;
};

void answer_init(struct answer *a, enum answer_form form);
/* Reads the next bytes. */
void answer_feed(struct answer *a, const char *bytes, size_t len);
/*
 * SSE: how many of the bytes fed in the *last* answer_feed call belong to complete events; the rest is a
 * started event. (Used to put an error event at an event boundary.) True when all bytes fed so far end on one.
 */
bool answer_is_at_event_end(const struct answer *a);
void answer_release(struct answer *a);

/* The form for a Content-Type value (parameters ignored, case ignored; "+json" counts as JSON). */
enum answer_form answer_form_of(struct span content_type);

#endif
