/* What was moved is known to the next process, and one process at a time counts. */
#include "chain/tally.h"
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct funding_spent spent_of(uint64_t n) {
  return (struct funding_spent){.deposits = u256_of(n), .transfers = u256_of(2 * n), .n_nonces = (unsigned)n};
}

static void a_new_one_is_empty(void) {
  struct tally *t = tally_open(-1);
  struct funding_spent spent;
  CHECK(tally_fd(t) >= 0);
  CHECK(tally_take_turn(t));
  tally_read(t, &spent);
  CHECK(u256_is_zero(funding_moved(&spent)));
  tally_close(t);
}

static void the_next_process_goes_on_with_the_count(void) {
  struct tally *t = tally_open(-1);
  struct funding_spent spent = spent_of(5);
  CHECK(tally_take_turn(t));
  tally_write(t, &spent);
  int fd = dup(tally_fd(t));
  tally_close(t);
  pid_t pid = fork();
  if (pid == 0) {
    struct tally *mine = tally_open(fd);
    tally_read(mine, &spent);
    bool is_there = u256_eq(spent.deposits, u256_of(5)) && spent.n_nonces == 5 && tally_take_turn(mine);
    spent = spent_of(9);
    tally_write(mine, &spent);
    _exit(is_there ? 0 : 1);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  t = tally_open(fd);
  tally_read(t, &spent);
  CHECK(u256_eq(spent.transfers, u256_of(18)));
  tally_close(t);
}

static void one_process_at_a_time_has_the_turn_and_a_dead_one_has_none(void) {
  struct tally *t = tally_open(-1);
  int to_child[2], to_parent[2];
  char letter = 0;
  CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    struct tally *mine = tally_open(dup(tally_fd(t)));
    letter = tally_take_turn(mine) ? 'y' : 'n';
    bool is_told = write(to_parent[1], &letter, 1) == 1 && read(to_child[0], &letter, 1) == 1;
    _exit(is_told ? 0 : 1); /* without giving it back */
  }
  CHECK(read(to_parent[0], &letter, 1) == 1 && letter == 'y');
  CHECK(!tally_take_turn(t));
  CHECK(write(to_child[1], &letter, 1) == 1);
  CHECK(waitpid(pid, NULL, 0) == pid);
  CHECK(tally_take_turn(t));
  tally_give_turn(t);
  tally_close(t);
  for (unsigned i = 0; i < 2; i++) {
    (void)close(to_child[i]);
    (void)close(to_parent[i]);
  }
}

static void what_is_no_tally_is_not_believed(void) {
  char name[] = "/tmp/moongate-tally-XXXXXX", bytes[4096] = {0};
  int fd = mkstemp(name);
  CHECK(fd >= 0 && unlink(name) == 0);
  CHECK(write(fd, bytes, sizeof bytes) == sizeof bytes);
  struct tally *t = tally_open(fd);
  struct funding_spent spent;
  tally_read(t, &spent);
  CHECK(u256_is_zero(funding_moved(&spent)));
  CHECK(tally_fd(t) != fd || fcntl(fd, F_GETFD) >= 0);
  tally_close(t);
  t = tally_open(200); /* no descriptor at all */
  CHECK(tally_take_turn(t));
  tally_close(t);
}

int main(void) {
  RUN(a_new_one_is_empty);
  RUN(the_next_process_goes_on_with_the_count);
  RUN(one_process_at_a_time_has_the_turn_and_a_dead_one_has_none);
  RUN(what_is_no_tally_is_not_believed);
  return CHECK_END();
}
