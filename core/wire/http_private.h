/*
 * http_private: what bytes may be in HTTP, for the http_*.c files of this room only.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_WIRE_HTTP_PRIVATE_H
#define MOONGATE_WIRE_HTTP_PRIVATE_H

#include "wire/http.h"

/* Of tokens, of field values, of names of hosts, and of paths in which nothing is escaped or odd. */
enum { IS_TOKEN = 1, IS_VALUE = 2, IS_REG_NAME = 4, IS_PLAIN_PATH = 8 };

/* http.c: of each byte, what it may be in. */
extern const uint8_t HTTP_CLASS[256];

static inline bool http_is(char c, uint8_t class) {
  return HTTP_CLASS[(unsigned char)c] & class;
}

#endif
