/*
 * load: provider and clients of a bench in one thread, on either side of the proxy that is measured. It works with
 * sockets alone and shares no code with what it measures.
 *
 * Prints "provider PORT" when it serves, then obeys lines on standard input and answers each with one line of JSON:
 *   chat PORT RATE SECONDS BYTES         chats at fixed times, RATE a second, whatever became of those before; the
 *                                        latency counts from the time a chat was due (no coordinated omission)
 *   open PORT STREAMS RATE               begins that many streams of RATE events a second each
 *   watch SECONDS                        events and their delay from provider to client, over the streams that run
 *   close                                ends all streams
 *   idle PORT CONNECTIONS                keep-alive clients that have had one answer each and stay
 * It never sleeps while it works: give it a processor of its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK        "at=" /* 16 hexadecimal digits follow: when an event was sent, in ns */
#define MARK_LEN    (sizeof MARK - 1 + 16)
#define SLOTS       4096 /* of 1 ms: longer than any pause between two events */
#define SAMPLES_MAX 8000000
#define CLIENTS_MAX 4096
#define DEADLINE_NS (120ull * 1000000000)

enum kind { LISTENER, PROVIDER, CLIENT };

struct peer {
  enum kind kind;
  int fd;
  struct peer *next; /* free clients, or those of one slot */
  char head[2048];
  size_t head_len, body_left;
  bool in_body, is_chunked, is_stream, is_busy, is_ended;
  uint64_t due_ns; /* of a chat: when it should have gone out */
  uint64_t every_ns, next_ns;
  char tail[MARK_LEN];
  size_t tail_len;
  char *out; /* what the socket did not take yet */
  size_t out_len;
};

static int poller;
static struct peer *slots[SLOTS];
static uint64_t slot_ms; /* all slots up to this millisecond have been looked at */
static struct peer *free_clients;
static struct peer **streams;
static size_t n_streams, n_begun, n_chats_done, n_bad;
static uint32_t *samples;
static size_t n_samples;
static bool is_sampling;
static uint64_t n_events, stream_every_ns, n_served;
static uint16_t proxy_port;
static char *chat_text;
static size_t chat_len;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void note(uint64_t ns) {
  if (is_sampling && n_samples < SAMPLES_MAX)
    samples[n_samples++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* ---- sockets ---- */

static void watch(struct peer *p, uint32_t events, int how) {
  struct epoll_event e = {.events = events, .data.ptr = p};
  if (epoll_ctl(poller, how, p->fd, &e)) die("epoll_ctl");
}

static struct peer *peer_new(enum kind kind, int fd) {
  struct peer *p = calloc(1, sizeof *p);
  if (!p) die("calloc");
  p->kind = kind;
  p->fd = fd;
  int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  watch(p, EPOLLIN, EPOLL_CTL_ADD);
  return p;
}

static void peer_close(struct peer *p) {
  (void)close(p->fd);
  p->fd = -1;
  p->is_ended = true; /* its memory stays: a slot may still name it */
}

static void send_all(struct peer *p, const char *bytes, size_t len) {
  ssize_t n = p->out_len ? 0 : send(p->fd, bytes, len, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) {
    if (p->kind == PROVIDER) peer_close(p);
    return;
  }
  size_t sent = n > 0 ? (size_t)n : 0;
  if (sent == len) return;
  if (!p->out_len) watch(p, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  p->out = realloc(p->out, p->out_len + len - sent);
  if (!p->out) die("realloc");
  memcpy(p->out + p->out_len, bytes + sent, len - sent);
  p->out_len += len - sent;
}

static void send_rest(struct peer *p) {
  ssize_t n = send(p->fd, p->out, p->out_len, MSG_NOSIGNAL);
  if (n <= 0) return;
  p->out_len -= (size_t)n;
  memmove(p->out, p->out + n, p->out_len);
  if (!p->out_len) watch(p, EPOLLIN, EPOLL_CTL_MOD);
}

static uint64_t number_after(const char *text, const char *name) {
  const char *at = strcasestr(text, name);
  return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* ---- the provider ---- */

static void wait_for(struct peer *p, uint64_t ns) {
  p->next_ns = ns;
  struct peer **slot = &slots[ns / 1000000 % SLOTS];
  p->next = *slot;
  *slot = p;
}

static void send_event(struct peer *p) {
  char event[512];
  int n = snprintf(
      event, sizeof event,
      "data: "
      "{\"id\":\"chatcmpl-%024llx\",\"object\":\"chat.completion.chunk\",\"created\":1795413600,\"model\":"
      "\"provider-model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" " MARK
      "%016llx\"},\"finish_reason\":null}]}\n\n",
      (unsigned long long)(uintptr_t)p, (unsigned long long)now_ns());
  char framed[600];
  int all = snprintf(framed, sizeof framed, "%x\r\n%s\r\n", n, event);
  send_all(p, framed, (size_t)all);
}

static void answer(struct peer *p) {
  char body[1024], text[1400];
  n_served++;
  if (p->is_stream) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    send_all(p, head, sizeof head - 1);
    send_event(p);
    p->every_ns = stream_every_ns;
    /* Spread over the interval. */
    wait_for(p, now_ns() + p->every_ns / 2 + (uint64_t)rand() % p->every_ns);
    return;
  }
  int n = snprintf(body, sizeof body,
                   "{\"id\":\"chatcmpl-%024llx\",\"object\":\"chat.completion\",\"created\":1795413600,"
                   "\"model\":\"provider-model\","
                   "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%0400d\"},"
                   "\"finish_reason\":\"stop\"}],"
                   "\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":100,\"total_tokens\":350}}",
                   (unsigned long long)n_served, 0);
  int all =
      snprintf(text, sizeof text,
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
  send_all(p, text, (size_t)all);
}

/* Whole requests; of a body only its first bytes are looked at. */
static void take_request(struct peer *p, const char *at, size_t len) {
  while (len) {
    if (p->in_body) {
      size_t take = len < p->body_left ? len : p->body_left;
      if (take && memmem(at, take, "\"stream\":true", 13)) p->is_stream = true;
      p->body_left -= take;
      at += take;
      len -= take;
    } else {
      size_t room = sizeof p->head - 1 - p->head_len, take = len < room ? len : room;
      memcpy(p->head + p->head_len, at, take);
      p->head[p->head_len + take] = '\0';
      char *end = strstr(p->head, "\r\n\r\n");
      if (!end) {
        p->head_len += take;
        return;
      }
      size_t used = (size_t)(end + 4 - p->head) - p->head_len;
      end[2] = '\0';
      p->body_left = number_after(p->head, "content-length:");
      p->in_body = true;
      p->is_stream = false;
      at += used;
      len -= used;
    }
    if (p->in_body && !p->body_left) {
      p->in_body = false;
      p->head_len = 0;
      answer(p);
    }
  }
}

static void send_due_events(void) {
  uint64_t now = now_ns(), until = now / 1000000;
  for (; slot_ms <= until; slot_ms++) {
    struct peer *p = slots[slot_ms % SLOTS], *next;
    slots[slot_ms % SLOTS] = NULL;
    for (; p; p = next) {
      next = p->next;
      if (p->is_ended) continue;
      if (p->next_ns > now) { /* later in this millisecond */
        wait_for(p, p->next_ns);
        continue;
      }
      send_event(p);
      if (!p->is_ended) wait_for(p, p->next_ns + p->every_ns);
    }
    if (slot_ms == until) break;
  }
}

/* ---- clients ---- */

static struct peer *client_new(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(proxy_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("connect");
  (void)fcntl(fd, F_SETFL, O_NONBLOCK);
  return peer_new(CLIENT, fd);
}

static void answered(struct peer *p) {
  note(now_ns() - p->due_ns);
  n_chats_done++;
  p->is_busy = p->in_body = false;
  p->head_len = 0;
  p->next = free_clients;
  free_clients = p;
}

/* The marks in what came; one may be split between two reads. */
static void find_marks(struct peer *p, const char *at, size_t len) {
  char joined[2 * MARK_LEN];
  uint64_t now = now_ns();
  if (p->tail_len) {
    size_t more = len < MARK_LEN ? len : MARK_LEN;
    memcpy(joined, p->tail, p->tail_len);
    memcpy(joined + p->tail_len, at, more);
    char *mark = memmem(joined, p->tail_len + more, MARK, sizeof MARK - 1);
    if (mark && mark < joined + p->tail_len && (size_t)(joined + p->tail_len + more - mark) >= MARK_LEN) {
      note(now - strtoull(mark + sizeof MARK - 1, NULL, 16));
      n_events++;
    }
  }
  const char *end = at + len, *last = at;
  for (const char *mark; (mark = memmem(last, (size_t)(end - last), MARK, sizeof MARK - 1));
       last = mark + MARK_LEN) {
    if ((size_t)(end - mark) < MARK_LEN) {
      last = mark;
      break;
    }
    char digits[17] = {0};
    memcpy(digits, mark + sizeof MARK - 1, 16);
    note(now - strtoull(digits, NULL, 16));
    n_events++;
  }
  size_t left = (size_t)(end - last);
  p->tail_len = left < MARK_LEN - 1 ? left : MARK_LEN - 1;
  memcpy(p->tail, end - p->tail_len, p->tail_len);
}

static void take_answer(struct peer *p, const char *at, size_t len) {
  while (len) {
    if (!p->in_body) {
      size_t room = sizeof p->head - 1 - p->head_len, take = len < room ? len : room;
      memcpy(p->head + p->head_len, at, take);
      p->head[p->head_len + take] = '\0';
      char *end = strstr(p->head, "\r\n\r\n");
      if (!end) {
        p->head_len += take;
        return;
      }
      size_t used = (size_t)(end + 4 - p->head) - p->head_len;
      end[2] = '\0';
      if (strncmp(p->head, "HTTP/1.1 200", 12) != 0) n_bad++;
      p->is_chunked = strcasestr(p->head, "transfer-encoding: chunked") != NULL;
      p->body_left = number_after(p->head, "content-length:");
      p->in_body = true;
      if (p->is_stream) n_begun++;
      at += used;
      len -= used;
      if (!p->is_chunked && !p->body_left) answered(p);
      continue;
    }
    if (p->is_stream) {
      find_marks(p, at, len);
      return;
    }
    if (p->is_chunked) {
      bool is_end = len >= 5 && memcmp(at + len - 5, "0\r\n\r\n", 5) == 0;
      if (is_end) answered(p);
      return;
    }
    size_t take = len < p->body_left ? len : p->body_left;
    p->body_left -= take;
    at += take;
    len -= take;
    if (!p->body_left) answered(p);
  }
}

static void send_chat(struct peer *p, uint64_t due_ns) {
  p->is_busy = true;
  p->due_ns = due_ns;
  send_all(p, chat_text, chat_len);
}

/* ---- the loop ---- */

static void on_ready(struct peer *p, uint32_t events) {
  static char bytes[262144];
  if (p->is_ended) return;
  if (p->kind == LISTENER) {
    int fd;
    while ((fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
      (void)peer_new(PROVIDER, fd);
    return;
  }
  if (events & EPOLLOUT) send_rest(p);
  ssize_t n = recv(p->fd, bytes, sizeof bytes, 0);
  if (n > 0 && p->kind == PROVIDER) take_request(p, bytes, (size_t)n);
  if (n > 0 && p->kind == CLIENT) take_answer(p, bytes, (size_t)n);
  if (n == 0 || (n < 0 && errno != EAGAIN)) {
    if (p->kind == CLIENT) n_bad++;
    peer_close(p);
  }
}

static void turn(int timeout_ms) {
  struct epoll_event events[512];
  int n = epoll_wait(poller, events, 512, timeout_ms);
  for (int i = 0; i < n; i++)
    on_ready(events[i].data.ptr, events[i].events);
  send_due_events();
}

/* ---- commands ---- */

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static double at_share(double share) {
  if (!n_samples) return 0;
  size_t i = (size_t)(share * (double)n_samples);
  return samples[i < n_samples ? i : n_samples - 1] / 1000.0;
}

static void begin_samples(void) {
  n_samples = n_events = n_chats_done = n_bad = 0;
  is_sampling = true;
}

static void print_samples(const char *what, double n, double seconds) {
  is_sampling = false;
  qsort(samples, n_samples, sizeof *samples, by_size);
  printf("{\"%s\":%.0f,\"seconds\":%.3f,\"bad\":%zu,\"p50us\":%.1f,\"p90us\":%.1f,\"p99us\":%.1f,\"maxus\":%."
         "1f}\n",
         what, n, seconds, n_bad, at_share(0.5), at_share(0.9), at_share(0.99), at_share(1));
  (void)fflush(stdout);
}

static void make_chat(size_t size, bool is_stream) {
  char before[96];
  int n =
      snprintf(before, sizeof before, "{\"model\":\"any\",%s\"messages\":[{\"role\":\"user\",\"content\":\"",
               is_stream ? "\"stream\":true," : "");
  static const char after[] = "\"}]}";
  size_t fixed = (size_t)n + sizeof after - 1, content = size > fixed ? size - fixed : 1;
  free(chat_text);
  chat_text = malloc(512 + fixed + content);
  if (!chat_text) die("malloc");
  int head = snprintf(
      chat_text, 512,
      "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: load\r\nAccept: */*\r\n"
      "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
      proxy_port, fixed + content);
  char *at = chat_text + head;
  memcpy(at, before, (size_t)n);
  memset(at + n, 'x', content);
  memcpy(at + n + content, after, sizeof after - 1);
  chat_len = (size_t)head + fixed + content;
}

static void drop_free_clients(void) {
  for (struct peer *p = free_clients, *next; p; p = next) {
    next = p->next;
    peer_close(p);
  }
  free_clients = NULL;
}

static void do_chat(unsigned port, double rate, double seconds, size_t size) {
  proxy_port = (uint16_t)port;
  make_chat(size, false);
  begin_samples();
  size_t sent = 0, n_clients = 0, total = (size_t)(rate * seconds);
  uint64_t start = now_ns();
  while (n_chats_done < total && now_ns() - start < DEADLINE_NS) {
    while (sent < total) {
      uint64_t due = start + (uint64_t)((double)sent * 1e9 / rate);
      if (due > now_ns()) break;
      struct peer *p = free_clients;
      if (p)
        free_clients = p->next;
      else if (n_clients < CLIENTS_MAX && ++n_clients)
        p = client_new();
      else
        break;
      send_chat(p, due);
      sent++;
    }
    turn(0);
  }
  print_samples("chats", (double)n_chats_done, (double)(now_ns() - start) / 1e9);
  drop_free_clients();
}

static void do_open(unsigned port, size_t n, double rate) {
  proxy_port = (uint16_t)port;
  stream_every_ns = (uint64_t)(1e9 / rate);
  make_chat(1024, true);
  streams = calloc(n, sizeof(struct peer *));
  if (!streams) die("calloc");
  n_begun = n_bad = 0;
  uint64_t start = now_ns();
  for (n_streams = 0; n_streams < n; n_streams++) {
    struct peer *p = streams[n_streams] = client_new();
    p->is_stream = true;
    send_chat(p, start);
    while (n_begun + 32 < n_streams && now_ns() - start < DEADLINE_NS)
      turn(0);
  }
  while (n_begun < n && now_ns() - start < DEADLINE_NS)
    turn(0);
  printf("{\"streams\":%zu,\"bad\":%zu}\n", n_begun, n_bad);
  (void)fflush(stdout);
}

static void do_watch(double seconds) {
  begin_samples();
  uint64_t start = now_ns(), ns = (uint64_t)(seconds * 1e9);
  while (now_ns() - start < ns)
    turn(0);
  print_samples("events", (double)n_events, (double)(now_ns() - start) / 1e9);
}

static void do_close(void) {
  for (size_t i = 0; i < n_streams; i++)
    peer_close(streams[i]);
  free(streams);
  streams = NULL;
  n_streams = 0;
  uint64_t start = now_ns();
  while (now_ns() - start < 500000000)
    turn(1);
  printf("{\"closed\":true}\n");
  (void)fflush(stdout);
}

static void do_idle(unsigned port, size_t n) {
  proxy_port = (uint16_t)port;
  make_chat(1024, false);
  n_chats_done = n_bad = 0;
  uint64_t start = now_ns();
  for (size_t i = 0; i < n; i++) {
    send_chat(client_new(), start);
    while (n_chats_done + 32 < i && now_ns() - start < DEADLINE_NS)
      turn(0);
  }
  while (n_chats_done < n && now_ns() - start < DEADLINE_NS)
    turn(0);
  free_clients = NULL; /* they stay open and are never used again */
  printf("{\"idle\":%zu,\"bad\":%zu}\n", n_chats_done, n_bad);
  (void)fflush(stdout);
}

static void obey(const char *line) {
  unsigned port;
  double rate, seconds;
  size_t n;
  if (sscanf(line, "chat %u %lf %lf %zu", &port, &rate, &seconds, &n) == 4)
    do_chat(port, rate, seconds, n);
  else if (sscanf(line, "open %u %zu %lf", &port, &n, &rate) == 3)
    do_open(port, n, rate);
  else if (sscanf(line, "watch %lf", &seconds) == 1)
    do_watch(seconds);
  else if (strncmp(line, "close", 5) == 0)
    do_close();
  else if (sscanf(line, "idle %u %zu", &port, &n) == 2)
    do_idle(port, n);
  else
    printf("{\"error\":\"not understood\"}\n");
  (void)fflush(stdout);
}

int main(void) {
  poller = epoll_create1(EPOLL_CLOEXEC);
  samples = malloc(SAMPLES_MAX * sizeof *samples);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  if (poller < 0 || !samples || fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096))
    die("listen");
  if (getsockname(fd, (struct sockaddr *)&a, &len)) die("getsockname");
  (void)peer_new(LISTENER, fd);
  struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
  slot_ms = now_ns() / 1000000;
  printf("provider %u\n", ntohs(a.sin_port));
  (void)fflush(stdout);
  (void)fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input)) die("epoll_ctl");
  char line[256];
  size_t have = 0;
  for (;;) {
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, 1);
    for (int i = 0; i < n; i++) {
      if (events[i].data.ptr) {
        on_ready(events[i].data.ptr, events[i].events);
        continue;
      }
      ssize_t got = read(STDIN_FILENO, line + have, sizeof line - 1 - have);
      if (got == 0) return 0;
      have += got > 0 ? (size_t)got : 0;
      line[have] = '\0';
      char *end = strchr(line, '\n');
      if (!end) continue;
      (void)epoll_ctl(poller, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
      obey(line);
      have = 0;
      if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input)) die("epoll_ctl");
    }
    send_due_events();
  }
}
