/*
 * count_calls: counts a program's allocations and the system calls of its sockets from outside.
 * usage: COUNT_FILE=FILE LD_PRELOAD=count_calls.so PROGRAM
 * FILE becomes an array of 64-bit counters, one per name of COUNT_MAP in its order, and may be read while the program
 * runs. Threads whose name begins with "worker" count; of the others, the allocations apart from these.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* tests/bench/cost.mjs knows this order. */
#define COUNT_MAP(X)                                                                                         \
  X(ALLOCATIONS) X(FREES) X(READS) X(WRITES) X(WAITS) X(EPOLL_CTLS) X(ALLOCATIONS_ELSEWHERE)

enum count {
#define COUNT_ENUM_(name) name,
  COUNT_MAP(COUNT_ENUM_)
#undef COUNT_ENUM_
      N_COUNTS
};

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
/* Exported by glibc: the allocator below these functions. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static uint64_t before_start[N_COUNTS], *counts = before_start;

/* Found out when the thread first waits for its sockets. */
static __thread bool is_worker __attribute__((tls_model("initial-exec")));

static void count(enum count which) {
  if (!is_worker && which != ALLOCATIONS) return;
  if (!is_worker) which = ALLOCATIONS_ELSEWHERE;
  (void)__atomic_add_fetch(&counts[which], 1, __ATOMIC_RELAXED);
}

static void find_out(void) {
  char name[16] = "";
  if (!is_worker && prctl(PR_GET_NAME, name) == 0) is_worker = strncmp(name, "worker", 6) == 0;
}

__attribute__((constructor)) static void open_file(void) {
  const char *path = getenv("COUNT_FILE");
  int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
  if (fd < 0 || ftruncate(fd, sizeof before_start)) _exit(3);
  void *p = mmap(NULL, sizeof before_start, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) _exit(3);
  (void)close(fd);
  counts = p;
}

/* ---- memory ---- */

void *malloc(size_t size) {
  count(ALLOCATIONS);
  return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
  count(ALLOCATIONS);
  return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
  count(ALLOCATIONS);
  return __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size) {
  count(ALLOCATIONS);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(ALLOCATIONS);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  count(ALLOCATIONS);
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : 12;
}

void free(void *p) {
  if (p) count(FREES);
  __libc_free(p);
}

/* ---- sockets ---- */

ssize_t read(int fd, void *buf, size_t n) {
  count(READS);
  return syscall(SYS_read, fd, buf, n);
}

ssize_t readv(int fd, const struct iovec *v, int n) {
  count(READS);
  return syscall(SYS_readv, fd, v, n);
}

ssize_t recv(int fd, void *buf, size_t n, int flags) {
  count(READS);
  return syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags) {
  count(READS);
  return syscall(SYS_recvmsg, fd, m, flags);
}

ssize_t write(int fd, const void *buf, size_t n) {
  count(WRITES);
  return syscall(SYS_write, fd, buf, n);
}

ssize_t writev(int fd, const struct iovec *v, int n) {
  count(WRITES);
  return syscall(SYS_writev, fd, v, n);
}

ssize_t send(int fd, const void *buf, size_t n, int flags) {
  count(WRITES);
  return syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
  count(WRITES);
  return syscall(SYS_sendmsg, fd, m, flags);
}

int epoll_ctl(int fd, int what, int other, struct epoll_event *event) {
  count(EPOLL_CTLS);
  return (int)syscall(SYS_epoll_ctl, fd, what, other, event);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout) {
  find_out();
  count(WAITS);
  return (int)syscall(SYS_epoll_pwait, fd, events, max, timeout, NULL, 8);
}

int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout, const sigset_t *mask) {
  find_out();
  count(WAITS);
  return (int)syscall(SYS_epoll_pwait, fd, events, max, timeout, mask, 8);
}
