#include "base/secrecy.h"
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECRET "sk-a-secret-of-this-test"

/* What others see of this process's environment; zero bytes become line ends. */
static const char *shown(void) {
  static char text[1 << 18];
  int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  for (ssize_t i = 0; i < n; i++)
    if (!text[i]) text[i] = '\n';
  text[n > 0 ? n : 0] = '\0';
  return text;
}

static void only_names_are_left_of_the_environment(void) {
  CHECK(strstr(shown(), "TEST_SECRET=" SECRET));
  secrecy_hide_environment();
  CHECK(!strstr(shown(), SECRET));
  CHECK(strstr(shown(), "TEST_SECRET=\n"));
  CHECK(getenv("TEST_SECRET") && strcmp(getenv("TEST_SECRET"), SECRET) == 0);
  CHECK(getenv("TEST_EMPTY") && getenv("TEST_EMPTY")[0] == '\0');
  CHECK(getenv("PATH") && getenv("PATH")[0]);
}

static void it_can_be_changed_and_hidden_again(void) {
  CHECK(unsetenv("TEST_EMPTY") == 0 && !getenv("TEST_EMPTY"));
  CHECK(setenv("TEST_NEW", "new", 1) == 0);
  secrecy_hide_environment();
  CHECK(strcmp(getenv("TEST_NEW"), "new") == 0 && strcmp(getenv("TEST_SECRET"), SECRET) == 0);
}

static void a_process_with_secrets_dumps_no_core_and_one_with_a_wallet_is_sealed(void) {
  struct rlimit r = {1, 1};
  secrecy_unseal();
  CHECK_INT(prctl(PR_GET_DUMPABLE), 1);
  secrecy_forbid_core();
  CHECK(getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_cur == 0 && r.rlim_max == 0);
  CHECK_INT(prctl(PR_GET_DUMPABLE), 1);
  secrecy_seal();
  CHECK_INT(prctl(PR_GET_DUMPABLE), 0);
  secrecy_unseal();
  CHECK_INT(prctl(PR_GET_DUMPABLE), 1);
}

int main(int argc, char **argv) {
  (void)argc;
  /* The block is the one that the program was started with. */
  if (!getenv("TEST_SECRET")) {
    (void)setenv("TEST_SECRET", SECRET, 1);
    (void)setenv("TEST_EMPTY", "", 1);
    (void)execv("/proc/self/exe", argv);
    return 1;
  }
  RUN(only_names_are_left_of_the_environment);
  RUN(it_can_be_changed_and_hidden_again);
  RUN(a_process_with_secrets_dumps_no_core_and_one_with_a_wallet_is_sealed);
  return CHECK_END();
}
