/*
 * thread: threads that hear no signals and have a name.
 *
 * Thread: any.
 */
#ifndef MOONGATE_BASE_THREAD_H
#define MOONGATE_BASE_THREAD_H

#include "base/base.h"

#include <pthread.h>

/* A new one with all signals blocked: they are control's. 0, or a negative code (EAGAIN: the system has no more). */
int thread_start(pthread_t *out, void *(*run)(void *), void *arg) MUST_CHECK;
/* What ps, top and debuggers call the calling thread; 15 bytes of it. */
void thread_name(const char *name);

#endif
