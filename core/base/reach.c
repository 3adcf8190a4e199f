#include "base/reach.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

struct block {
  uint8_t bytes[4];
  unsigned bits;
};

/* 192.0.0.0/24 and 192.88.99.0/24 are protocols' own, the three of 24 bits behind them are for documents. */
static const struct block V4[] = {
    {{0}, 8},
    {{10}, 8},
    {{100, 64}, 10},
    {{127}, 8},
    {{169, 254}, 16},
    {{172, 16}, 12},
    {{192, 0, 0}, 24},
    {{192, 0, 2}, 24},
    {{192, 88, 99}, 24},
    {{192, 168}, 16},
    {{198, 18}, 15},
    {{198, 51, 100}, 24},
    {{203, 0, 113}, 24},
    {{224}, 4},
    {{240}, 4},
};

static bool is_within(const uint8_t *a, const uint8_t *block, unsigned bits) {
  unsigned whole = bits / 8, rest = bits % 8;
  if (memcmp(a, block, whole) != 0) return false;
  return rest == 0 || (uint8_t)((a[whole] ^ block[whole]) >> (8 - rest)) == 0;
}

static bool is_public_v4(const uint8_t a[4]) {
  for (size_t i = 0; i < ARRAY_LEN(V4); i++)
    if (is_within(a, V4[i].bytes, V4[i].bits)) return false;
  return true;
}

static bool is_public_v6(const uint8_t a[16]) {
  static const uint8_t zeros[12], nat64[12] = {0, 0x64, 0xff, 0x9b}, mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0 || memcmp(a, zeros, 12) == 0)
    return is_public_v4(a + 12);                                /* ::1 and :: are in 0.0.0.0/8 */
  if (a[0] == 0x20 && a[1] == 0x02) return is_public_v4(a + 2); /* 6to4 */
  if (a[0] == 0x20 && a[1] == 0x01 && ((a[2] & 0xfe) == 0 || (a[2] == 0x0d && a[3] == 0xb8))) return false;
  return (a[0] & 0xe0) == 0x20; /* 2000::/3 is all that is routed */
}

bool reach_is_public(const struct sockaddr *address) {
  if (address->sa_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    return is_public_v4((const uint8_t *)&v4->sin_addr);
  }
  if (address->sa_family != AF_INET6) return false;
  return is_public_v6(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
}

bool reach_is_private_host(const char *host) {
  uint8_t bytes[16];
  size_t len = strlen(host);
  if (inet_pton(AF_INET, host, bytes) == 1) return !is_public_v4(bytes);
  if (inet_pton(AF_INET6, host, bytes) == 1) return !is_public_v6(bytes);
  while (len && host[len - 1] == '.')
    len--;
  static const char local[] = "localhost";
  size_t n = sizeof local - 1;
  return len >= n && strncasecmp(host + len - n, local, n) == 0 && (len == n || host[len - n - 1] == '.');
}
