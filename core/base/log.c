#include "base/log.h"
#include "base/clock.h"
#include "base/redact.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int min_level = LOG_INFO;
static _Atomic int line_format = LOG_TEXT;
static _Atomic bool use_colour;

static const char *const NAMES[] = {"debug", "info", "warn", "error", "off"};
static const char *const COLOURS[] = {"\x1b[2m", "", "\x1b[33m", "\x1b[31m"};

bool log_may_colour(int fd) {
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(fd) && !(no_color && no_color[0]) && term && strcmp(term, "dumb") != 0;
}

void log_setup(enum log_level level, enum log_format format) {
  min_level = level;
  line_format = format;
  use_colour = format == LOG_TEXT && log_may_colour(STDERR_FILENO);
}

bool log_level_parse(const char *name, enum log_level *out) {
  if (strcmp(name, "warning") == 0) name = "warn";
  for (int i = LOG_DEBUG; i <= LOG_OFF; i++) {
    if (strcmp(name, NAMES[i]) != 0) continue;
    *out = (enum log_level)i;
    return true;
  }
  return false;
}

bool log_is_on(enum log_level level) {
  return (int)level >= min_level && level < LOG_OFF;
}

/* Bytes of the UTF-8 character at the front, 0 when there is none. */
static size_t utf8_len(struct span s) {
  const unsigned char *p = (const unsigned char *)s.ptr;
  if (p[0] < 0x80) return 1;
  size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || s.len < n) return 0;
  for (size_t i = 1; i < n; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  /* overlong forms, surrogates, numbers past the last */
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
  if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
  return n;
}

/*
 * Whether a character of three bytes is not seen itself and changes how others are: marks and overrides of direction,
 * separators of lines and paragraphs, what has no width.
 */
static bool is_unseen(const unsigned char *p) {
  if (p[0] == 0xe2 && p[1] == 0x80) return (p[2] >= 0x8b && p[2] <= 0x8f) || (p[2] >= 0xa8 && p[2] <= 0xae);
  if (p[0] == 0xe2 && p[1] == 0x81) return p[2] >= 0xa0 && p[2] <= 0xaf;
  return p[0] == 0xef && ((p[1] == 0xbb && p[2] == 0xbf) || (p[1] == 0xbf && p[2] >= 0xb9 && p[2] <= 0xbb));
}

/*
 * Control characters of both sets (below 0x20, 0x7f to 0x9f), unseen ones and bytes that are no UTF-8 become visible.
 */
static int put_character(struct buf *out, struct span text, size_t len, bool json) {
  unsigned char c = (unsigned char)text.ptr[0];
  if (len == 0) return buf_appendf(out, json ? "\\\\x%02x" : "\\x%02x", c);
  if (json && (c == '"' || c == '\\')) return buf_appendf(out, "\\%c", c);
  if (len == 2 && c == 0xc2 && (unsigned char)text.ptr[1] < 0xa0) {
    c = (unsigned char)text.ptr[1];
    return buf_appendf(out, json ? "\\u%04x" : "\\x%02x", c);
  }
  const unsigned char *p = (const unsigned char *)text.ptr;
  if (len == 2 && c == 0xd8 && p[1] == 0x9c) return buf_appendf(out, "\\u061c");
  if (len == 3 && is_unseen(p))
    return buf_appendf(out, "\\u%04x", (c & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u));
  if (c < 0x20 || c == 0x7f) return buf_appendf(out, json ? "\\u%04x" : "\\x%02x", c);
  return buf_append(out, text.ptr, len);
}

static void put_escaped(struct buf *out, struct span text, bool json) {
  while (text.len) {
    size_t len = utf8_len(text);
    if (put_character(out, text, len, json)) return;
    len = len ? len : 1;
    text = span_make(text.ptr + len, text.len - len);
  }
}

/* ---- the output ---- */

static struct {
  pthread_mutex_t lock;
  uint64_t lost; /* lines since the last that was written */
} output = {.lock = PTHREAD_MUTEX_INITIALIZER};

/*
 * A pipe that nobody empties must not hold up who logs: poll() tells that there is room for a whole line, which is not
 * longer than a page of a pipe, and the lock keeps the room for it.
 */
static bool write_locked(struct span line) {
  struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
  ssize_t n = -1;
  if (poll(&out, 1, 0) == 1 && out.revents & POLLOUT) n = write(STDERR_FILENO, line.ptr, line.len);
  return n >= 0;
}

static void compose(struct buf *line, enum log_level level, struct span message) {
  uint64_t now = clock_wall_ms();
  time_t seconds = (time_t)(now / 1000);
  struct tm utc;
  gmtime_r(&seconds, &utc);
  char when[32];
  size_t len = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
  bool json = line_format == LOG_JSON, colour = use_colour;
  buf_init(line, LOG_LINE_MAX - 16);
  if (json) {
    buf_putf(line, "{\"time\":\"%.*s.%03uZ\",\"level\":\"%s\",\"message\":\"", (int)len, when,
             (unsigned)(now % 1000), NAMES[level]);
  } else {
    buf_putf(line, "%s%.*s.%03uZ %-5s ", colour ? COLOURS[level] : "", (int)len, when, (unsigned)(now % 1000),
             NAMES[level]);
  }
  put_escaped(line, message, json);
  line->max = LOG_LINE_MAX;
  buf_put_str(line, json ? "\"}" : colour && *COLOURS[level] ? "\x1b[0m" : "");
  buf_put_str(line, "\n");
}

static bool tell_lost_locked(void) {
  char text[96];
  int len = snprintf(text, sizeof text, "%llu lines before this one were lost: standard error took none",
                     (unsigned long long)output.lost);
  struct buf line;
  compose(&line, LOG_WARN, span_make(text, (size_t)len));
  bool is_told = write_locked(buf_span(&line));
  buf_release(&line);
  return is_told;
}

static void put_line(enum log_level level, struct span message) {
  struct buf line;
  compose(&line, level, message);
  pthread_mutex_lock(&output.lock);
  if (output.lost && tell_lost_locked()) output.lost = 0;
  if (output.lost || !write_locked(buf_span(&line))) output.lost++;
  pthread_mutex_unlock(&output.lock);
  buf_release(&line);
}

void log_write(enum log_level level, const char *fmt, ...) {
  if (!log_is_on(level)) return;
  /* Redacted as a whole, cut afterwards: a secret across the cut would show its first part. */
  struct buf message;
  buf_init(&message, SIZE_MAX / 2);
  va_list args;
  va_start(args, fmt);
  int err = buf_append_va(&message, fmt, args);
  va_end(args);
  if (!err) {
    (void)redact_apply(&message);
    put_line(level, buf_span(&message));
  }
  wipe(message.data, message.cap);
  buf_release(&message);
}

bool log_limit_pass(struct log_limit *limit, unsigned burst, unsigned per_ms, unsigned *suppressed) {
  uint64_t now = clock_mono_ms();
  uint64_t start = __atomic_load_n(&limit->window_start_ms, __ATOMIC_RELAXED);
  if (start == 0 || now - start >= per_ms) {
    __atomic_store_n(&limit->window_start_ms, now ? now : 1, __ATOMIC_RELAXED);
    __atomic_store_n(&limit->in_window, 0, __ATOMIC_RELAXED);
  }
  if (__atomic_add_fetch(&limit->in_window, 1, __ATOMIC_RELAXED) > burst) {
    __atomic_add_fetch(&limit->suppressed, 1, __ATOMIC_RELAXED);
    return false;
  }
  *suppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
  return true;
}
