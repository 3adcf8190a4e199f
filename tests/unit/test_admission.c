#include "net/admission.h"
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

static uint32_t active;
static struct admission *a;

static uint32_t active_now(const void *context) {
  return *(const uint32_t *)context;
}

static void begin(unsigned connections, unsigned per_address, uint64_t descriptors) {
  active = 0;
  a = admission_new(active_now, &active);
  admission_limit(a, connections, per_address, descriptors, 0);
}

static struct sockaddr_storage address(const char *text) {
  struct sockaddr_storage s = {0};
  struct sockaddr_in *in = (struct sockaddr_in *)&s;
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&s;
  if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
    in->sin_family = AF_INET;
  else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
    in6->sin6_family = AF_INET6;
  return s;
}

static enum admission_verdict enter(const char *text, struct address_count **count) {
  struct sockaddr_storage s = address(text);
  struct address_count *own = NULL;
  return admission_enter(a, (struct sockaddr *)&s, count ? count : &own);
}

static void a_few_are_admitted_over_the_bound_and_then_none(void) {
  begin(10, 0, 1000);
  for (int i = 0; i < 10; i++)
    CHECK_INT(enter("10.0.0.1", NULL), ADMITTED);
  CHECK(admission_is_full(a));
  unsigned n = 0;
  while (enter("10.0.0.1", NULL) == ADMITTED_OVER)
    n++;
  CHECK_INT(n, 62); /* a sixteenth of the descriptors */
  CHECK_INT(admission_count(a), 72);
  admission_leave(a, true, NULL);
  CHECK_INT(enter("10.0.0.1", NULL), ADMITTED_OVER);
  while (admission_count(a) >= 10)
    admission_leave(a, admission_count(a) > 10, NULL);
  CHECK_INT(enter("10.0.0.1", NULL), ADMITTED);
  while (admission_count(a))
    admission_leave(a, false, NULL);
  admission_free(a);
}

static void without_a_bound_of_its_own_descriptors_are_the_bound(void) {
  begin(0, 0, 800);
  CHECK_INT(admission_max(a), 700);
  admission_limit(a, 100000, 0, 800, 0);
  CHECK_INT(admission_max(a), 700);
  admission_limit(a, 50, 0, 800, 0);
  CHECK_INT(admission_max(a), 50);
  admission_free(a);
}

static void requests_at_providers_take_their_share(void) {
  begin(0, 0, 800);
  for (int i = 0; i < 450; i++)
    CHECK_INT(enter("10.0.0.1", NULL), ADMITTED);
  active = 350;
  CHECK(admission_has_room(a));
  CHECK_INT(enter("10.0.0.1", NULL), ADMITTED_OVER);
  CHECK(!admission_has_room(a));
  active = 0;
  CHECK(admission_has_room(a));
  CHECK_INT(enter("10.0.0.1", NULL), ADMITTED);
  active = 297; /* with 452 clients one less than all but what is for those over the bound */
  CHECK(!admission_is_full(a));
  active = 298;
  CHECK(admission_is_full(a));
  admission_leave(a, true, NULL);
  while (admission_count(a))
    admission_leave(a, false, NULL);
  admission_free(a);
}

static void each_address_has_its_own_share(void) {
  struct address_count *c[3];
  begin(0, 2, 10000);
  CHECK_INT(enter("10.0.0.1", &c[0]), ADMITTED);
  CHECK_INT(enter("10.0.0.1", &c[1]), ADMITTED);
  CHECK(c[0] == c[1] && c[0] != NULL);
  CHECK_INT(enter("10.0.0.1", NULL), REFUSED_ADDRESS);
  CHECK_INT(enter("::ffff:10.0.0.1", NULL), REFUSED_ADDRESS);
  CHECK_INT(enter("10.0.0.2", &c[2]), ADMITTED);
  admission_leave(a, false, c[0]);
  CHECK_INT(enter("10.0.0.1", &c[0]), ADMITTED);
  for (int i = 0; i < 3; i++)
    admission_leave(a, false, c[i]);
  CHECK_INT(admission_count(a), 0);
  admission_free(a); /* checks that no address is left */
}

static void a_network_of_64_bits_is_one_address(void) {
  struct address_count *c[3];
  begin(0, 1, 10000);
  CHECK_INT(enter("2001:db8:0:1::1", &c[0]), ADMITTED);
  CHECK_INT(enter("2001:db8:0:1:ffff::2", NULL), REFUSED_ADDRESS);
  CHECK_INT(enter("2001:db8:0:2::1", &c[1]), ADMITTED);
  CHECK_INT(enter("::1", &c[2]), ADMITTED);
  for (int i = 0; i < 3; i++)
    admission_leave(a, false, c[i]);
  admission_free(a);
}

static void counting_begins_and_ends_with_the_bound(void) {
  struct address_count *before, *counted;
  begin(0, 0, 10000);
  CHECK_INT(enter("10.0.0.1", &before), ADMITTED);
  CHECK(!before);
  admission_limit(a, 0, 1, 10000, 0);
  CHECK_INT(enter("10.0.0.1", &counted), ADMITTED);
  CHECK_INT(enter("10.0.0.1", NULL), REFUSED_ADDRESS);
  admission_limit(a, 0, 0, 10000, 0);
  admission_leave(a, false, before);
  admission_leave(a, false, counted);
  admission_free(a);
}

#define ROUNDS    20000
#define ADDRESSES 97

static void *come_and_go(void *arg) {
  unsigned seed = *(unsigned *)arg, admitted = 0;
  for (unsigned i = 0; i < ROUNDS; i++) {
    char text[32];
    (void)snprintf(text, sizeof text, "10.1.2.%u", (seed * 31 + i * 7) % ADDRESSES);
    struct address_count *count = NULL;
    enum admission_verdict v = enter(text, &count);
    if (v == REFUSED_ADDRESS) continue;
    admitted++;
    admission_leave(a, v == ADMITTED_OVER, count);
  }
  *(unsigned *)arg = admitted;
  return NULL;
}

static void many_threads_leave_nothing_behind(void) {
  begin(0, 2, 10000);
  pthread_t threads[4];
  unsigned arg[4] = {1, 2, 3, 4};
  for (int i = 0; i < 4; i++)
    CHECK_INT(pthread_create(&threads[i], NULL, come_and_go, &arg[i]), 0);
  for (int i = 0; i < 4; i++) {
    CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK(arg[i] > 0);
  }
  CHECK_INT(admission_count(a), 0);
  admission_free(a);
}

int main(void) {
  RUN(a_few_are_admitted_over_the_bound_and_then_none);
  RUN(without_a_bound_of_its_own_descriptors_are_the_bound);
  RUN(requests_at_providers_take_their_share);
  RUN(each_address_has_its_own_share);
  RUN(a_network_of_64_bits_is_one_address);
  RUN(counting_begins_and_ends_with_the_bound);
  RUN(many_threads_leave_nothing_behind);
  return CHECK_END();
}
