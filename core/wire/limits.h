/*
 * limits: what a provider's head says about its rate limits: how much is left, when it is full again, and how long to wait
 * before the next request. Fields as OpenAI and the brokers of the 0G network send them.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_WIRE_LIMITS_H
#define MOONGATE_WIRE_LIMITS_H

#include "wire/http_response.h"

struct limit {
  double left;     /* NaN: it does not say */
  double reset_ms; /* until it is full again; NaN: it does not say */
};

struct limits {
  struct limit requests, tokens;
  bool has_retry_after;
  uint32_t retry_after_ms; /* of retry-after-ms, else Retry-After (seconds or a date); at most a day */
};

void limits_read(struct limits *l, const struct http_response *head);
/*
 * How long a refusal for a rate limit asks to wait: Retry-After, else until what is used up is full again; 0 when the head
 * tells neither.
 */
uint32_t limits_wait_ms(const struct limits *l);

#endif
