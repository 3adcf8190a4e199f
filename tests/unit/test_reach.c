/* Which hosts lead into a private network, in all the ways of writing them. */
#include "base/reach.h"
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

static const char *const PRIVATE[] = {
    "127.0.0.1",
    "127.255.0.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.192",
    "198.18.0.1",
    "198.19.255.255",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2001:db8::1",
    "2001::1",
    "100::1",
    "localhost",
    "LocalHost.",
    "a.localhost",
};
static const char *const PUBLIC[] = {
    "1.1.1.1",          "8.8.8.8",         "172.15.0.1",           "172.32.0.1",   "100.63.0.1",
    "100.128.0.1",      "169.253.0.1",     "192.167.1.1",          "198.17.0.1",   "198.20.0.1",
    "223.255.255.1",    "2606:4700::1111", "2001:4860:4860::8888", "2a00::1",      "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8", "2002:808:808::1", "example.com",          "notlocalhost", "localhost.example.com",
    "mylocalhost",
};

static void hosts_are_told_by_their_spelling(void) {
  for (size_t i = 0; i < ARRAY_LEN(PRIVATE); i++) {
    if (!reach_is_private_host(PRIVATE[i])) printf("# %s\n", PRIVATE[i]);
    CHECK(reach_is_private_host(PRIVATE[i]));
  }
  for (size_t i = 0; i < ARRAY_LEN(PUBLIC); i++) {
    if (reach_is_private_host(PUBLIC[i])) printf("# %s\n", PUBLIC[i]);
    CHECK(!reach_is_private_host(PUBLIC[i]));
  }
}

static bool is_public(const char *text) {
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) return reach_is_public((struct sockaddr *)&v4);
  CHECK(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
  return reach_is_public((struct sockaddr *)&v6);
}

static void addresses_are_told_as_their_texts(void) {
  for (size_t i = 0; i < ARRAY_LEN(PRIVATE); i++)
    if (strchr("0123456789abcdef:", PRIVATE[i][0]) && !strstr(PRIVATE[i], "local"))
      CHECK(!is_public(PRIVATE[i]));
  for (size_t i = 0; i < ARRAY_LEN(PUBLIC); i++)
    if (strpbrk(PUBLIC[i], "lx") == NULL) CHECK(is_public(PUBLIC[i]));
  struct sockaddr other = {.sa_family = AF_UNIX};
  CHECK(!reach_is_public(&other));
}

int main(void) {
  RUN(hosts_are_told_by_their_spelling);
  RUN(addresses_are_told_as_their_texts);
  return CHECK_END();
}
