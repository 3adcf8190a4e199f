#include "base/log.h"
#include "base/clock.h"
#include "base/redact.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int min_level = LOG_INFO;
static _Atomic int line_format = LOG_TEXT;
static _Atomic bool use_colour;

static const char *const NAMES[] = {"debug", "info", "warn", "error", "off"};
static const char *const COLOURS[] = {"\x1b[2m", "", "\x1b[33m", "\x1b[31m"};

void log_setup(enum log_level level, enum log_format format) {
  min_level = level;
  line_format = format;
  use_colour = format == LOG_TEXT && isatty(STDERR_FILENO);
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
  return (int)level >= min_level;
}

static void put_escaped(struct buf *out, struct span text, bool json) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    int err = 0;
    if (json && (c == '"' || c == '\\')) err = buf_appendf(out, "\\%c", c);
    else if (c < 0x20 || c == 0x7f) err = json ? buf_appendf(out, "\\u%04x", c) : buf_appendf(out, "\\x%02x", c);
    else err = buf_append(out, &c, 1);
    if (err) return;
  }
}

void log_write(enum log_level level, const char *fmt, ...) {
  if (!log_is_on(level)) return;
  char text[LOG_LINE_MAX / 2];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n < 0) return;
  struct buf message, line;
  buf_init(&message, LOG_LINE_MAX / 2);
  buf_init(&line, LOG_LINE_MAX);
  if (buf_append(&message, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1) == 0) {
    (void)redact_apply(&message);
    uint64_t now = clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char when[32];
    size_t len = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    bool json = line_format == LOG_JSON, colour = use_colour;
    if (json) {
      buf_putf(&line, "{\"time\":\"%.*s.%03uZ\",\"level\":\"%s\",\"message\":\"", (int)len, when, (unsigned)(now % 1000),
               NAMES[level]);
    } else {
      buf_putf(&line, "%s%.*s.%03uZ %-5s ", colour ? COLOURS[level] : "", (int)len, when, (unsigned)(now % 1000),
               NAMES[level]);
    }
    line.max -= 16;
    put_escaped(&line, buf_span(&message), json);
    line.max += 16;
    buf_put_str(&line, json ? "\"}" : colour && *COLOURS[level] ? "\x1b[0m" : "");
    buf_put_str(&line, "\n");
    ssize_t written = write(STDERR_FILENO, line.data, line.len);
    (void)written;
  }
  buf_release(&message);
  buf_release(&line);
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
