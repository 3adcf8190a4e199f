/*
 * One machine reads JSON byte by byte across reads; an event's data lines are fed to the same machine, so
 * that neither form needs a buffer. It looks into these places and passes over every other value by its
 * brackets:
 *
 *   OUTSIDE -> TOP -> CARRIER ("message", "response") -> CARRIER_USAGE
 *                  -> USAGE
 *                  -> CHOICES -> CHOICE
 *
 * Each place has one parent, so that no stack is needed. CARRIER and CHOICES exist in event streams only.
 *
 * Thread: one.   Owner: the caller; all state is in its struct answer.
 */
#include "wire/answer_private.h"

enum place { OUTSIDE, TOP, CARRIER, CARRIER_USAGE, USAGE, CHOICES, CHOICE };

/* What the value of a member is to us. */
enum role {
  ROLE_NONE,
  ROLE_ID,
  ROLE_TYPE,
  ROLE_ERROR,
  ROLE_FINISH,
  ROLE_CARRIER,
  ROLE_CHOICES,
  ROLE_USAGE,
  ROLE_PROMPT_TOKENS,
  ROLE_INPUT_TOKENS,
  ROLE_COMPLETION_TOKENS,
  ROLE_OUTPUT_TOKENS,
};

enum json_state {
  AT_START,
  AT_VALUE,
  AT_VALUE_OR_END,
  AT_NAME,
  AT_NAME_OR_END,
  AT_COLON,
  BEHIND_VALUE,
  IN_STRING,
  IN_ESCAPE,
  IN_HEX,
  IN_SCALAR,
  IN_PASSED_OVER,
  IN_DONE_WORD,
  AT_END,
  BROKEN,
};

enum string_kind { STRING_NAME, STRING_VALUE, STRING_PASSED_OVER };

static const char done_word[] = "[DONE]";

/* ---- finding bytes ---- */

/* The first quote or bracket, or `end`. In ASCII, bit 0x20 is all that tells '[' from '{' and ']' from '}'.
 */
static inline const char *find_bracket(const char *at, const char *end) {
#if WIRE_SSE2
  const __m128i quote = _mm_set1_epi8('"'), bit = _mm_set1_epi8(0x20);
  const __m128i open = _mm_set1_epi8('{'), close = _mm_set1_epi8('}');
  for (; end - at >= 16; at += 16) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at), curled = _mm_or_si128(bytes, bit);
    __m128i bracket = _mm_or_si128(_mm_cmpeq_epi8(curled, open), _mm_cmpeq_epi8(curled, close));
    unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(bracket, _mm_cmpeq_epi8(bytes, quote)));
    if (mask) return at + __builtin_ctz(mask);
  }
#else
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    uint64_t curled = word | 0x2020202020202020u;
    if (answer_word_has(curled, '{') | answer_word_has(curled, '}') | answer_word_has(word, '"')) break;
  }
#endif
  while (at < end && *at != '"' && (*at | 0x20) != '{' && (*at | 0x20) != '}')
    at++;
  return at;
}

/* From behind a quote to behind the one that ends the string; NULL when that is not here. */
static inline const char *whole_string_end(const char *at, const char *end) {
  for (;;) {
    at = answer_find(at, end, '"', '\\');
    if (at == end) return NULL;
    if (*at == '"') return at + 1;
    if (end - at < 2) return NULL;
    at += 2;
  }
}

/* ---- the machine ---- */

void answer_json_reset(struct answer *a) {
  struct answer_json *j = &a->json;
  j->state = AT_START;
  j->place = OUTSIDE;
  j->role = ROLE_NONE;
  j->is_done_type = j->is_error_type = false;
}

static void document_ended(struct answer *a) {
  struct answer_json *j = &a->json;
  j->state = AT_END;
  if (a->form == ANSWER_JSON || j->is_done_type) a->is_done = true;
  if (j->is_error_type) a->has_error = true;
}

static void pass_over(struct answer_json *j) {
  j->depth = 1;
  j->state = IN_PASSED_OVER;
}

static void begin_string(struct answer_json *j, enum string_kind kind, bool is_kept) {
  j->state = IN_STRING;
  j->string_kind = kind;
  j->is_kept = is_kept;
  j->is_unfit = false;
  j->word_len = 0;
}

static void keep(struct answer *a, const char *bytes, size_t len) {
  struct answer_json *j = &a->json;
  bool is_id = j->string_kind == STRING_VALUE && j->role == ROLE_ID;
  if (j->is_unfit || len > (is_id ? sizeof a->id : sizeof j->word) - j->word_len) {
    j->is_unfit = true;
    return;
  }
  memcpy((is_id ? a->id : j->word) + j->word_len, bytes, len);
  j->word_len = (uint8_t)(j->word_len + len);
}

static enum role role_in_top(enum answer_form form, struct span name) {
  if (span_eq(name, SPAN("id"))) return ROLE_ID;
  if (span_eq(name, SPAN("usage"))) return ROLE_USAGE;
  if (span_eq(name, SPAN("error"))) return ROLE_ERROR;
  if (form == ANSWER_JSON) return ROLE_NONE;
  if (span_eq(name, SPAN("type"))) return ROLE_TYPE;
  if (span_eq(name, SPAN("choices"))) return ROLE_CHOICES;
  if (span_eq(name, SPAN("message")) || span_eq(name, SPAN("response"))) return ROLE_CARRIER;
  return ROLE_NONE;
}

static enum role role_in_carrier(struct span name) {
  if (span_eq(name, SPAN("id"))) return ROLE_ID;
  if (span_eq(name, SPAN("usage"))) return ROLE_USAGE;
  return span_eq(name, SPAN("error")) ? ROLE_ERROR : ROLE_NONE;
}

static enum role role_in_usage(struct span name) {
  if (span_eq(name, SPAN("prompt_tokens"))) return ROLE_PROMPT_TOKENS;
  if (span_eq(name, SPAN("completion_tokens"))) return ROLE_COMPLETION_TOKENS;
  if (span_eq(name, SPAN("input_tokens"))) return ROLE_INPUT_TOKENS;
  return span_eq(name, SPAN("output_tokens")) ? ROLE_OUTPUT_TOKENS : ROLE_NONE;
}

static enum role role_of(const struct answer *a, struct span name) {
  switch ((enum place)a->json.place) {
  case TOP: return role_in_top(a->form, name);
  case CARRIER: return role_in_carrier(name);
  case USAGE:
  case CARRIER_USAGE: return role_in_usage(name);
  case CHOICE: return span_eq(name, SPAN("finish_reason")) ? ROLE_FINISH : ROLE_NONE;
  case OUTSIDE:
  case CHOICES: break;
  }
  return ROLE_NONE;
}

static bool is_printable(struct span s) {
  bool is_other = false;
  for (size_t i = 0; i < s.len; i++)
    is_other |= s.ptr[i] < ' ' || s.ptr[i] > '~';
  return !is_other;
}

/* `word` is what a kept string other than an id says. */
static void end_string(struct answer *a, struct span word) {
  struct answer_json *j = &a->json;
  switch ((enum string_kind)j->string_kind) {
  case STRING_PASSED_OVER: j->state = IN_PASSED_OVER; return;
  case STRING_NAME:
    j->role = (uint8_t)role_of(a, word);
    j->state = AT_COLON;
    return;
  case STRING_VALUE: break;
  }
  if (j->is_kept && j->role == ROLE_ID) {
    if (!j->is_unfit && is_printable(span_make(a->id, j->word_len))) a->id_len = j->word_len;
  } else if (j->is_kept) {
    j->is_done_type = answer_is_done_name(word);
    j->is_error_type = span_eq(word, SPAN("error"));
  }
  j->state = BEHIND_VALUE;
}

static const char *feed_string(struct answer *a, const char *at, const char *end) {
  struct answer_json *j = &a->json;
  const char *stop = answer_find(at, end, '"', '\\');
  struct span run = span_make(at, (size_t)(stop - at));
  bool is_whole = stop < end && *stop == '"' && j->word_len == 0 && !j->is_unfit;
  if (is_whole && (j->string_kind != STRING_VALUE || j->role != ROLE_ID)) {
    end_string(a, run);
    return stop + 1;
  }
  if (j->is_kept && run.len) keep(a, run.ptr, run.len);
  if (stop == end) return end;
  if (*stop == '"') {
    end_string(a, j->is_unfit ? SPAN_NONE : span_make(j->word, j->word_len));
  } else {
    j->state = IN_ESCAPE;
  }
  return stop + 1;
}

static void feed_escape(struct answer *a, char c) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  struct answer_json *j = &a->json;
  const char *letter = c ? strchr(letters, c) : NULL;
  j->state = IN_STRING;
  if (!j->is_kept) return;
  if (letter) {
    keep(a, &meanings[letter - letters], 1);
  } else if (c == 'u') {
    j->state = IN_HEX;
    j->hex = j->hex_len = 0;
  } else {
    j->state = BROKEN;
  }
}

static void feed_hex(struct answer *a, char c) {
  struct answer_json *j = &a->json;
  int digit = hex_digit(c);
  if (digit < 0) {
    j->state = BROKEN;
    return;
  }
  j->hex = (uint16_t)(j->hex << 4 | digit);
  if (++j->hex_len < 4) return;
  j->state = IN_STRING;
  if (j->hex < 0x80) {
    keep(a, &(char){(char)j->hex}, 1);
  } else {
    j->is_unfit = true; /* none of the words and ids that count goes beyond ASCII */
  }
}

static void feed_digit(struct answer_json *j, char c) {
  if (c < '0' || c > '9' || j->number < 0 || j->number > (INT64_MAX - (c - '0')) / 10) {
    j->number = -1;
  } else {
    j->number = j->number * 10 + (c - '0');
  }
}

static void end_scalar(struct answer *a) {
  struct answer_json *j = &a->json;
  j->state = BEHIND_VALUE;
  if (j->number < 0) return;
  /* Some providers send both pairs of names, one of them with zeros; the older pair is the one to trust. */
  switch (j->role) {
  case ROLE_PROMPT_TOKENS:
    a->tokens_in = j->number;
    j->has_prompt_tokens = true;
    break;
  case ROLE_COMPLETION_TOKENS:
    a->tokens_out = j->number;
    j->has_completion_tokens = true;
    break;
  case ROLE_INPUT_TOKENS:
    if (!j->has_prompt_tokens) a->tokens_in = j->number;
    break;
  case ROLE_OUTPUT_TOKENS:
    if (!j->has_completion_tokens) a->tokens_out = j->number;
    break;
  default: break;
  }
}

/* What numbers, true, false and null are made of. */
static const bool IN_SCALARS[256] = {
    ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1,
    ['9'] = 1, ['-'] = 1, ['+'] = 1, ['.'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1,
    ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,
    ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1,
    ['x'] = 1, ['y'] = 1, ['z'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1,
    ['G'] = 1, ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1,
    ['Y'] = 1, ['Z'] = 1,
};

static inline bool is_scalar(char c) {
  return IN_SCALARS[(unsigned char)c];
}

static const char *feed_scalar(struct answer *a, const char *at, const char *end) {
  for (; at < end && is_scalar(*at); at++)
    feed_digit(&a->json, *at);
  if (at < end) end_scalar(a);
  return at;
}

static void begin_object(struct answer_json *j) {
  j->state = AT_NAME_OR_END;
  if (j->place == CHOICES) {
    j->place = CHOICE;
  } else if (j->role == ROLE_CARRIER) {
    j->place = CARRIER;
  } else if (j->role == ROLE_USAGE) {
    j->place = j->place == CARRIER ? CARRIER_USAGE : USAGE;
    j->has_prompt_tokens = j->has_completion_tokens = false;
  } else {
    pass_over(j);
  }
}

static void begin_value(struct answer *a, char c) {
  struct answer_json *j = &a->json;
  if (c != 'n' && j->role == ROLE_ERROR) a->has_error = true;
  if (c != 'n' && j->role == ROLE_FINISH) a->has_finish = true;
  if (c == '"') {
    begin_string(j, STRING_VALUE, j->role == ROLE_TYPE || (j->role == ROLE_ID && a->id_len == 0));
  } else if (c == '{') {
    begin_object(j);
  } else if (c == '[' && j->role == ROLE_CHOICES) {
    j->place = CHOICES;
    j->role = ROLE_NONE;
    j->state = AT_VALUE_OR_END;
  } else if (c == '[') {
    pass_over(j);
  } else if (is_scalar(c)) {
    j->state = IN_SCALAR;
    j->number = 0;
    feed_digit(j, c);
  } else {
    j->state = BROKEN;
  }
}

static void leave(struct answer *a) {
  static const uint8_t parents[] = {[TOP] = OUTSIDE, [CARRIER] = TOP, [CARRIER_USAGE] = CARRIER,
                                    [USAGE] = TOP,   [CHOICES] = TOP, [CHOICE] = CHOICES};
  struct answer_json *j = &a->json;
  j->place = parents[j->place];
  j->role = ROLE_NONE;
  j->state = BEHIND_VALUE;
  if (j->place == OUTSIDE) document_ended(a);
}

static void behind_value(struct answer *a, char c) {
  struct answer_json *j = &a->json;
  if (c == ',') {
    j->state = j->place == CHOICES ? AT_VALUE : AT_NAME;
  } else if (c == (j->place == CHOICES ? ']' : '}')) {
    leave(a);
  } else {
    j->state = BROKEN;
  }
}

static void begin_document(struct answer *a, char c) {
  struct answer_json *j = &a->json;
  j->state = BROKEN;
  if (c == '{') {
    j->place = TOP;
    j->state = AT_NAME_OR_END;
  } else if (c == '[' && a->form == ANSWER_JSON) {
    pass_over(j);
  } else if (c == '[') {
    j->state = IN_DONE_WORD;
    j->word_len = 1;
  }
}

static void feed_done_word(struct answer *a, char c) {
  struct answer_json *j = &a->json;
  if (c != done_word[j->word_len]) {
    j->state = BROKEN;
  } else if (++j->word_len == sizeof done_word - 1) {
    a->is_done = true;
    j->state = BROKEN;
  }
}

static const char *feed_passed_over(struct answer *a, const char *at, const char *end) {
  struct answer_json *j = &a->json;
  uint32_t depth = j->depth;
  while ((at = find_bracket(at, end)) < end) {
    char c = *at++;
    if (c == '"') {
      const char *behind = whole_string_end(at, end);
      if (!behind) {
        begin_string(j, STRING_PASSED_OVER, false);
        break;
      }
      at = behind;
    } else if ((c | 0x20) == '{') {
      if (++depth == UINT32_MAX) {
        j->state = BROKEN;
        break;
      }
    } else if (--depth == 0) {
      j->state = BEHIND_VALUE;
      if (j->place == OUTSIDE) document_ended(a);
      break;
    }
  }
  j->depth = depth;
  return at;
}

/*
 * Members of an object from the quote of a name on, as long as each is here as a whole, the way programs write it, with a
 * short value that is none of ours. Stops before the first other value, or behind one that no such member follows.
 */
static const char *feed_members(struct answer *a, const char *at, const char *end) {
  struct answer_json *j = &a->json;
  for (;;) {
    const char *name = at + 1, *quote = answer_find(name, end, '"', '\\');
    if (end - quote < 4 || *quote != '"' || quote[1] != ':') {
      begin_string(j, STRING_NAME, true);
      return name;
    }
    at = quote + 2 + (quote[2] == ' ');
    j->role = (uint8_t)role_of(a, span_make(name, (size_t)(quote - name)));
    j->state = AT_VALUE;
    if (j->role != ROLE_NONE) return at;
    const char *behind = at;
    if (*at == '"') {
      behind = whole_string_end(at + 1, end);
    } else {
      while (behind < end && is_scalar(*behind))
        behind++;
    }
    if (!behind || behind == at || end - behind < 2) return at;
    at = behind;
    if (*at != ',' || at[1] != '"') {
      j->state = BEHIND_VALUE;
      return at;
    }
    at++;
  }
}

/* A byte where blanks may be and none is. */
static void feed_token(struct answer *a, char c) {
  struct answer_json *j = &a->json;
  switch ((enum json_state)j->state) {
  case AT_START: begin_document(a, c); return;
  case AT_VALUE_OR_END:
    if (c == ']') {
      leave(a);
      return;
    }
    begin_value(a, c);
    return;
  case AT_VALUE: begin_value(a, c); return;
  case AT_NAME_OR_END:
    if (c == '}') {
      leave(a);
      return;
    }
    break;
  case AT_NAME: break;
  case AT_COLON: j->state = c == ':' ? AT_VALUE : BROKEN; return;
  case BEHIND_VALUE: behind_value(a, c); return;
  default: j->state = BROKEN; return;
  }
  j->state = BROKEN; /* a name begins in answer_json_feed() */
}

void answer_json_feed(struct answer *a, const char *at, const char *end) {
  while (at < end) {
    switch ((enum json_state)a->json.state) {
    case IN_STRING: at = feed_string(a, at, end); break;
    case IN_PASSED_OVER: at = feed_passed_over(a, at, end); break;
    case IN_ESCAPE: feed_escape(a, *at++); break;
    case IN_HEX: feed_hex(a, *at++); break;
    case IN_DONE_WORD: feed_done_word(a, *at++); break;
    case IN_SCALAR: at = feed_scalar(a, at, end); break;
    case BROKEN: return;
    case AT_NAME:
    case AT_NAME_OR_END:
      if (*at == '"') {
        at = feed_members(a, at, end);
        break;
      }
      /* fall through */
    default:
      if (*at != ' ' && *at != '\n' && *at != '\r' && *at != '\t') feed_token(a, *at);
      at++;
    }
  }
}
