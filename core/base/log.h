/*
 * log: one line per event on standard error, as text for people or JSON for collectors.
 *
 * Thread: any; a line is one write(2). Control characters in arguments are escaped, and those that change how a line
 * reads; loaded secrets are redacted, lines cut at LOG_LINE_MAX bytes. A full disk, or a pipe that is closed or that
 * nobody empties, loses lines, never the service; the next line that is taken tells how many.
 */
#ifndef MOONGATE_BASE_LOG_H
#define MOONGATE_BASE_LOG_H

#include "base/base.h"

#define LOG_LINE_MAX 4096

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_TEXT, LOG_JSON };

/* Before threads start, or from the thread that reloads. */
void log_setup(enum log_level level, enum log_format format);
/* Whether colours are welcome there: a terminal, and no objection by NO_COLOR or TERM=dumb. */
bool log_may_colour(int fd);
/* "debug", "info", "warn" (or "warning"), "error", "off"; false when unknown. */
bool log_level_parse(const char *name, enum log_level *out);
bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...)                                                                                       \
  do {                                                                                                       \
    if (log_is_on(LOG_DEBUG)) log_write(LOG_DEBUG, __VA_ARGS__);                                             \
  } while (0)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* Lets `burst` events per `per_ms` through and counts the rest. One per call site; any thread. */
struct log_limit {
  uint64_t window_start_ms;
  unsigned in_window, suppressed;
};
/* True when the event may be logged; *suppressed tells how many were not since the last one. */
bool log_limit_pass(struct log_limit *limit, unsigned burst, unsigned per_ms, unsigned *suppressed);

#endif
