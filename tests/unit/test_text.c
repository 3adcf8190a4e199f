#include "check.h"
#include "wire/text.h"

#include <stdlib.h>

/* What text_pass_usual() may pass, one character after the other. *has_escape: one of those before `until`. */
static const char *usual_end(const char *at, const char *end, const char *until, bool *has_escape,
                             bool *is_boundary) {
  *has_escape = *is_boundary = false;
  while (at < end) {
    size_t len = 0;
    *is_boundary |= at == until;
    if (text_is_plain(*at)) {
      len = 1;
    } else if ((unsigned char)*at >= 0x80) {
      len = text_utf8_len(at, end);
    } else if (*at == '\\' && end - at >= 2 && at[1] && strchr("\"\\/bfnrt", at[1])) {
      len = 2;
      *has_escape |= at < until;
    }
    if (len == 0) break;
    at += len;
  }
  *is_boundary |= at == until;
  return at;
}

static bool passes_blocks(void) {
#if WIRE_SSE2
  return __builtin_cpu_supports("avx2");
#else
  return false;
#endif
}

static bool is_right(const char *text, size_t len) {
  bool has_escape = false, wants_escape, is_boundary;
  const char *end = text + len, *got = text_pass_usual(text, end, &has_escape);
  const char *want = usual_end(text, end, got, &wants_escape, &is_boundary);
  if (got < text || got > want || !is_boundary || has_escape != wants_escape) return false;
  /* Whole blocks are passed: of the last one, of one with a bad byte, and of what goes across its front, nothing need be. */
  return !passes_blocks() || want - got < 64 + 4;
}

static void every_byte_stops_where_it_must(void) {
  char text[400];
  for (unsigned c = 0; c < 256; c++) {
    for (size_t at = 0; at < 330; at++) {
      memset(text, 'a', sizeof text);
      text[at] = (char)c;
      CHECK(is_right(text, sizeof text));
    }
  }
}

static void every_escape_is_judged_across_blocks(void) {
  char text[300];
  for (unsigned c = 0; c < 256; c++) {
    for (size_t at = 0; at < 200; at++) {
      for (size_t run = 1; run < 6; run++) {
        memset(text, 'a', sizeof text);
        memset(text + at, '\\', run);
        text[at + run] = (char)c;
        CHECK(is_right(text, sizeof text));
      }
    }
  }
}

/* All leads with all second bytes, and what may or may not follow, wherever blocks and their halves meet. */
static void sequences_are_judged_across_blocks(void) {
  static const unsigned char thirds[] = {'a', 0x80, 0xBF, 0xE1};
  static const size_t places[] = {0, 28, 30, 31, 60, 61, 62, 63, 64, 125, 127};
  char text[260];
  for (unsigned lead = 0x80; lead < 256; lead++)
    for (unsigned second = 0; second < 256; second++)
      for (size_t i = 0; i < ARRAY_LEN(thirds); i++)
        for (size_t k = 0; k < ARRAY_LEN(thirds); k++)
          for (size_t p = 0; p < ARRAY_LEN(places); p++) {
            size_t at = places[p];
            memset(text, 'a', sizeof text);
            text[at] = (char)lead;
            text[at + 1] = (char)second;
            text[at + 2] = (char)thirds[i];
            text[at + 3] = (char)thirds[k];
            if (!is_right(text, sizeof text)) CHECK_INT((lead << 24) + (second << 16) + (i << 8) + k, -1);
          }
}

static uint32_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

/* Texts of such pieces, with a byte in some of them that is another one. */
static void mixed_texts_are_judged(void) {
  static const char *const pieces[] = {"a",
                                       "moon and boat ",
                                       "\\n",
                                       "\\\\",
                                       "\\\"",
                                       "\xC3\xA9",
                                       "\xE6\x9C\x88",
                                       "/",
                                       "\xF0\x9F\x8C\x99",
                                       "\xEF\xBF\xBD",
                                       "\\/",
                                       "\xE6\x9C\x88\xE7\x90\x83\xE5\x85\x89",
                                       "\x7F",
                                       "    ",
                                       "\\t",
                                       "{}[]:,"};
  uint64_t state = 1;
  for (unsigned round = 0; round < 200000; round++) {
    char text[512];
    size_t len = 0, max = 64 + next_random(&state) % 400;
    unsigned kinds = 1 + next_random(&state) % ARRAY_LEN(pieces);
    for (;;) {
      const char *piece = pieces[next_random(&state) % kinds];
      if (len + strlen(piece) > max) break;
      memcpy(text + len, piece, strlen(piece));
      len += strlen(piece);
    }
    if (round % 2 && len) text[next_random(&state) % len] = (char)next_random(&state);
    char *exact = malloc(len + 1); /* so that a sanitizer sees who reads beyond */
    REQUIRE(exact);
    memcpy(exact, text, len);
    bool is_good = is_right(exact, len);
    free(exact);
    CHECK(is_good);
  }
}

int main(void) {
  RUN(every_byte_stops_where_it_must);
  RUN(every_escape_is_judged_across_blocks);
  RUN(sequences_are_judged_across_blocks);
  RUN(mixed_texts_are_judged);
  return CHECK_END();
}
