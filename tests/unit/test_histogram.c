#include "base/histogram.h"
#include "check.h"
#include "flow/traffic.h"

#include <string.h>

static void a_bucket_ends_with_its_bound(void) {
  CHECK_INT(histogram_bucket(0, 1000), 0);
  CHECK_INT(histogram_bucket(1000, 1000), 0);
  CHECK_INT(histogram_bucket(1001, 1000), 1);
  CHECK_INT(histogram_bucket(2000, 1000), 1);
  CHECK_INT(histogram_bucket(2001, 1000), 2);
  CHECK_INT(histogram_bucket((uint64_t)1000 << (HISTOGRAM_BOUNDS - 1), 1000), HISTOGRAM_BOUNDS - 1);
  CHECK_INT(histogram_bucket(((uint64_t)1000 << (HISTOGRAM_BOUNDS - 1)) + 1, 1000), HISTOGRAM_BOUNDS);
  CHECK_INT(histogram_bucket(UINT64_MAX, UINT32_MAX), HISTOGRAM_BOUNDS);
  CHECK_INT(histogram_bucket(UINT64_MAX, 1), HISTOGRAM_BOUNDS);
  for (uint32_t first_us = 1; first_us < 2000; first_us++) {
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
      uint64_t bound = (uint64_t)first_us << i;
      CHECK_INT(histogram_bucket(bound, first_us), i);
      CHECK_INT(histogram_bucket(bound + 1, first_us), i + 1);
    }
  }
}

static void readings_add_up(void) {
  struct histogram one = {{0}, 0}, other = {{0}, 0}, sum = {{0}, 0};
  histogram_add(&one, 5, 10);
  histogram_add(&other, 5, 10);
  histogram_add(&other, 30, 10);
  histogram_read(&sum, &one);
  histogram_read(&sum, &other);
  CHECK_INT(sum.counts[0], 2);
  CHECK_INT(sum.counts[2], 1);
  CHECK_INT(sum.sum_us, 40);
}

static void one_thread_s_own_counts_the_same(void) {
  struct histogram own = {{0}, 0}, any = {{0}, 0};
  for (uint64_t us = 0; us < 100000; us += 7) {
    histogram_add_own(&own, us, 2);
    histogram_add(&any, us, 2);
  }
  CHECK(memcmp(&own, &any, sizeof own) == 0);
}

static void requests_are_counted_by_kind_status_and_stream(void) {
  static struct traffic t;
  traffic_note(&t, "chat", 200, false, 5);
  traffic_note(&t, "chat", 200, true, 5);
  traffic_note(&t, "messages", 599, false, 20000);
  traffic_note(&t, "messages", 12345, false, 5); /* no status: counted as a failure of ours */
  CHECK_INT(t.kinds[0].by_status[0][0], 1);
  CHECK_INT(t.kinds[0].by_status[0][1], 1);
  CHECK_INT(t.kinds[TRAFFIC_KIND_N - 1].by_status[599 - TRAFFIC_STATUS_MIN][0], 1);
  CHECK_INT(t.kinds[TRAFFIC_KIND_N - 1].by_status[500 - TRAFFIC_STATUS_MIN][0], 1);
  CHECK_INT(t.kinds[TRAFFIC_KIND_N - 1].duration.counts[1], 1);
  CHECK_INT(t.kinds[0].duration.sum_us, 10);
  traffic_note_overhead(&t, 2);
  traffic_note_overhead(&t, 9);
  CHECK_INT(t.overhead.counts[0], 1);
  CHECK_INT(t.overhead.counts[3], 1);
  CHECK_INT(t.overhead.sum_us, 11);
}

int main(void) {
  RUN(a_bucket_ends_with_its_bound);
  RUN(readings_add_up);
  RUN(one_thread_s_own_counts_the_same);
  RUN(requests_are_counted_by_kind_status_and_stream);
  return CHECK_END();
}
