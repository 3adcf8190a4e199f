#include "base/thread.h"

#include <signal.h>
#include <sys/prctl.h>

int thread_start(pthread_t *out, void *(*run)(void *), void *arg) {
  sigset_t all, before;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_BLOCK, &all, &before);
  int err = pthread_create(out, NULL, run, arg);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -err;
}

void thread_name(const char *name) {
  (void)prctl(PR_SET_NAME, name);
}
