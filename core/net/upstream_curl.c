/*
 * The libcurl transport. One multi handle per loop; libcurl says which sockets and which timeout it wants
 * watched, the loop reports back. Easy handles are kept with their settings and used again for the same URL.
 * Connections and looked-up names belong to the multi handle. TLS sessions stay with their easy handle: shared by
 * all (CURLSH), one that a burst of connections resumes at once was refused about every second time.
 *
 * libcurl must not be re-entered from its own callbacks, so starts and cancels that arrive there are queued
 * and carried out by run(), the only place that collects finished transfers.
 */
#include "net/transport.h"
#include "net/curl_library.h"
#include "base/reach.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define INTERIM_MAX      16
#define TARGETS_MAX      1024
#define FREE_CALLS_MAX   64
#define POST_INLINE_MAX  65536
#define POOL_CONNECTIONS 512

struct target { /* one URL with its idle handles */
  struct list node;
  CURLU *url;
  char *text;
  size_t text_len;
  struct list free_calls;
  unsigned n_live;
};

struct curl_transport {
  struct transport base;
  struct loop *loop;
  CURLM *multi;
  struct wheel_timer timer;
  struct list targets;
  unsigned n_targets, n_free, n_live;
  struct list starting, cancelling;
  struct socket_watch **watches; /* by descriptor */
  size_t n_watches;
  struct http_response scratch;
  unsigned depth; /* libcurl is on the stack */
  bool is_running, timeout_now, is_closing;
  char *ca_file;
  long idle_s;
};

struct socket_watch {
  uv_poll_t poll;
  struct curl_transport *up;
  curl_socket_t fd;
  int events;     /* being watched */
  bool is_wanted; /* by libcurl */
  bool is_tls, is_paused;
  bool is_connection; /* opened and closed through our callbacks */
};

enum call_phase { PHASE_HEAD, PHASE_BODY };

struct curl_call {
  struct upstream_call base;
  struct list node; /* in free_calls, starting or cancelling */
  struct curl_transport *up;
  struct target *target;
  CURL *easy;
  struct upstream_request req;
  struct curl_slist *nodes; /* and behind them the lines they point into */
  char *flat;               /* a small body of several segments in one piece */
  size_t body_len, body_at;
  struct buf head;
  enum call_phase phase;
  unsigned interim;
  bool is_added, is_cancelled, is_paused;
  const char *bad_answer; /* why we refused it */
  bool is_short;          /* no descriptor was left for its socket */
  bool is_private;        /* an address of its name was refused */
  char error[CURL_ERROR_SIZE];
};

static void run(struct curl_transport *u);

static bool is_https(const struct target *t) {
  return strncasecmp(t->text, "https:", 6) == 0;
}

/* ---- sockets and the timeout ---- */

static void socket_action(struct curl_transport *u, curl_socket_t fd, int flags) {
  int running = 0;
  u->depth++;
  (void)libcurl.multi_socket_action(u->multi, fd, flags, &running);
  u->depth--;
}

static struct socket_watch *find_watch(const struct curl_transport *u, curl_socket_t fd) {
  return fd >= 0 && (size_t)fd < u->n_watches ? u->watches[fd] : NULL;
}

static void on_watch_closed(uv_handle_t *h) {
  free(h->data);
}

static void drop_watch(struct socket_watch *w) {
  w->up->watches[w->fd] = NULL;
  uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static struct socket_watch *add_watch(struct curl_transport *u, curl_socket_t fd, bool is_connection) {
  if ((size_t)fd >= u->n_watches) {
    size_t n = u->n_watches ? u->n_watches : 64;
    while (n <= (size_t)fd)
      n *= 2;
    u->watches = x_realloc(u->watches, n * sizeof(struct socket_watch *));
    memset(u->watches + u->n_watches, 0, (n - u->n_watches) * sizeof(struct socket_watch *));
    u->n_watches = n;
  }
  if (u->watches[fd]) drop_watch(u->watches[fd]); /* libcurl closed the one before without a word */
  struct socket_watch *w = x_calloc(1, sizeof *w);
  w->up = u;
  w->fd = fd;
  w->is_connection = is_connection;
  if (uv_poll_init_socket(&u->loop->uv, &w->poll, fd)) {
    free(w);
    return NULL;
  }
  w->poll.data = w;
  u->watches[fd] = w;
  return w;
}

/*
 * Bytes on an idle connection belong to no call: whatever they are, they must not be taken for the next answer. libcurl
 * only asks whether the connection is alive, so it is ended here. (Under TLS they may be a session ticket.)
 */
static void end_if_spoilt(struct socket_watch *w) {
  char byte;
  if (w->is_tls || recv(w->fd, &byte, 1, MSG_DONTWAIT) <= 0) return;
  char rest[4096];
  (void)shutdown(w->fd, SHUT_RDWR);
  while (recv(w->fd, rest, sizeof rest, MSG_DONTWAIT) > 0) {
  }
}

static void on_poll(uv_poll_t *p, int status, int events) {
  struct socket_watch *w = p->data;
  struct curl_transport *u = w->up;
  loop_time_passes(u->loop);
  if (!w->is_wanted) { /* an idle pooled connection: libcurl looks at it before using it again */
    (void)uv_poll_stop(p);
    w->events = 0;
    if (w->is_connection && !w->is_paused) end_if_spoilt(w);
    return;
  }
  int flags = status < 0 ? CURL_CSELECT_ERR : 0;
  if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
  socket_action(u, w->fd, flags);
  run(u);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user) {
  (void)socket_user;
  struct curl_transport *u = user;
  struct socket_watch *w = find_watch(u, fd);
  if (what == CURL_POLL_REMOVE) {
    /* A connection that goes back to the pool stays watched: no system call now and none at its next use.
       What is no connection (the resolver's wake-up pipe) is closed behind our back, so its watch must go at
       once. */
    if (w && w->is_connection) {
      const struct curl_call *call = NULL;
      (void)libcurl.easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call);
      w->is_wanted = false;
      w->is_paused = call && call->is_paused; /* its bytes belong to somebody */
    } else if (w)
      drop_watch(w);
    return 0;
  }
  if (!w) w = add_watch(u, fd, false);
  if (!w) return -1;
  w->is_wanted = true;
  int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  if (events == w->events) return 0;
  w->events = events;
  return uv_poll_start(&w->poll, events, on_poll) ? -1 : 0;
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *a) {
  (void)purpose;
  struct curl_call *call = user;
  struct curl_transport *u = call->up;
  if (call->req.is_public_only && !reach_is_public(&a->addr)) {
    call->is_private = true;
    return CURL_SOCKET_BAD;
  }
  int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
  bool is_short = fd < 0 && (errno == EMFILE || errno == ENFILE);
  if (is_short && loop_spare_descriptor(u->loop))
    /* cppcheck-suppress resourceLeak ; there was none to lose, or is_short would be false */
    fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
  call->is_short = is_short && fd < 0;
  if (fd < 0) return CURL_SOCKET_BAD;
  struct socket_watch *w = add_watch(u, fd, true);
  if (w) {
    w->is_tls = is_https(call->target);
    return fd;
  }
  (void)close(fd);
  return CURL_SOCKET_BAD;
}

/* The watch must go before the descriptor does: its number may be given out again at once. */
static int on_close_socket(void *user, curl_socket_t fd) {
  struct curl_transport *u = user;
  struct socket_watch *w = find_watch(u, fd);
  if (w) drop_watch(w);
  return close(fd);
}

static void on_timeout(struct wheel_timer *t) {
  struct curl_transport *u = container_of(t, struct curl_transport, timer);
  u->timeout_now = true;
  run(u);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *user) {
  (void)multi;
  struct curl_transport *u = user;
  u->timeout_now = timeout_ms == 0;
  if (timeout_ms > 0)
    loop_timer_start(u->loop, &u->timer, on_timeout, (uint64_t)timeout_ms);
  else
    loop_timer_stop(u->loop, &u->timer);
  return 0;
}

/* ---- the answer ---- */

static size_t refuse(struct curl_call *call, const char *why) {
  call->bad_answer = why;
  return CURL_WRITEFUNC_ERROR;
}

static size_t on_header(char *line, size_t size, size_t n, void *user) {
  struct curl_call *call = user;
  size_t len = size * n;
  if (call->is_cancelled) return CURL_WRITEFUNC_ERROR;
  if (call->phase == PHASE_BODY) return len; /* trailers are dropped */
  if (call->head.len + len > HTTP_RESPONSE_HEAD_MAX) return refuse(call, "its head is too large");
  if (buf_append(&call->head, line, len)) return refuse(call, "its head is too large");
  if (!(len == 2 && line[0] == '\r' && line[1] == '\n')) {
    if (len == 1 && line[0] == '\n') return refuse(call, "a line ends without CR");
    return len;
  }
  struct http_response *head = &call->up->scratch;
  const char *wrong = http_response_parse(head, call->head.data, call->head.len, true);
  buf_clear(&call->head);
  if (wrong) return refuse(call, wrong);
  if (head->status < 200) {
    if (head->status == 101) return refuse(call, "it switches protocols");
    return ++call->interim > INTERIM_MAX ? refuse(call, "too many interim answers") : len;
  }
  call->phase = PHASE_BODY;
  call->req.events->on_head(call->req.user, head);
  return call->is_cancelled ? CURL_WRITEFUNC_ERROR : len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user) {
  struct curl_call *call = user;
  size_t len = size * n;
  if (call->is_cancelled) return CURL_WRITEFUNC_ERROR;
  if (call->phase != PHASE_BODY) return refuse(call, "a body without a head");
  if (len) call->req.events->on_data(call->req.user, bytes, len);
  if (call->is_cancelled) return CURL_WRITEFUNC_ERROR;
  /* Everything was taken; a pause asked for by the event starts behind these bytes. */
  if (call->is_paused) (void)libcurl.easy_pause(call->easy, CURLPAUSE_RECV);
  return len;
}

/* ---- the request ---- */

static size_t on_read_body(char *out, size_t size, size_t n, void *user) {
  struct curl_call *call = user;
  size_t room = size * n, done = 0, skip = call->body_at;
  for (unsigned i = 0; i < call->req.n_body && done < room; i++) {
    struct span s = call->req.body[i];
    if (skip >= s.len) {
      skip -= s.len;
      continue;
    }
    size_t take = s.len - skip < room - done ? s.len - skip : room - done;
    memcpy(out + done, s.ptr + skip, take);
    done += take;
    skip = 0;
  }
  call->body_at += done;
  return done;
}

static int on_seek_body(void *user, curl_off_t offset, int origin) {
  struct curl_call *call = user;
  if (origin != SEEK_SET || offset < 0 || (size_t)offset > call->body_len) return CURL_SEEKFUNC_FAIL;
  call->body_at = (size_t)offset;
  return CURL_SEEKFUNC_OK;
}

static CURL *new_easy(struct curl_transport *u, struct curl_call *call) {
  CURL *e = libcurl.easy_init();
  REQUIRE(e != NULL);
  (void)libcurl.easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  (void)libcurl.easy_setopt(e, CURLOPT_PRIVATE, call);
  (void)libcurl.easy_setopt(e, CURLOPT_CURLU, call->target->url);
  (void)libcurl.easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
  (void)libcurl.easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
  (void)libcurl.easy_setopt(e, CURLOPT_PROXY, "");
  (void)libcurl.easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
  /* A burst waits for the first handshake, which tells whether all of it fits on that connection. Without TLS nothing
     tells before the first answer. */
  (void)libcurl.easy_setopt(e, CURLOPT_PIPEWAIT, is_https(call->target) ? 1L : 0L);
  (void)libcurl.easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
  (void)libcurl.easy_setopt(e, CURLOPT_HEADERDATA, call);
  (void)libcurl.easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
  (void)libcurl.easy_setopt(e, CURLOPT_WRITEDATA, call);
  (void)libcurl.easy_setopt(e, CURLOPT_READFUNCTION, on_read_body);
  (void)libcurl.easy_setopt(e, CURLOPT_READDATA, call);
  (void)libcurl.easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek_body);
  (void)libcurl.easy_setopt(e, CURLOPT_SEEKDATA, call);
  (void)libcurl.easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  (void)libcurl.easy_setopt(e, CURLOPT_OPENSOCKETDATA, call);
  (void)libcurl.easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
  (void)libcurl.easy_setopt(e, CURLOPT_CLOSESOCKETDATA, u);
  (void)libcurl.easy_setopt(e, CURLOPT_ERRORBUFFER, call->error);
  (void)libcurl.easy_setopt(e, CURLOPT_MAXAGE_CONN, u->idle_s);
  (void)libcurl.easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 65536L);
  if (u->ca_file) (void)libcurl.easy_setopt(e, CURLOPT_CAINFO, u->ca_file);
  /* Without a folder of certificates libcurl reads its file once for all connections (7.87), not within handshakes. */
  (void)libcurl.easy_setopt(e, CURLOPT_CAPATH, NULL);
  return e;
}

static void free_call(struct curl_call *call) {
  if (call->easy) libcurl.easy_cleanup(call->easy);
  buf_release(&call->head);
  free(call->nodes);
  free(call->flat);
  free(call);
}

static void free_target(struct curl_transport *u, struct target *t) {
  struct list *node;
  while ((node = list_pop_front(&t->free_calls))) {
    u->n_free--;
    free_call(container_of(node, struct curl_call, node));
  }
  list_remove(&t->node);
  u->n_targets--;
  libcurl.url_cleanup(t->url);
  free(t->text);
  free(t);
}

/* Providers come and go with reloads; a target in use is told by its count of calls. */
static void forget_idle_targets(struct curl_transport *u) {
  list_each(node, next, &u->targets) {
    struct target *t = container_of(node, struct target, node);
    if (t->n_live == 0) free_target(u, t);
  }
}

static struct target *find_target(struct curl_transport *u, struct span base, struct span path) {
  size_t len = base.len + path.len;
  list_each(node, next, &u->targets) {
    struct target *t = container_of(node, struct target, node);
    if (t->text_len != len || memcmp(t->text, base.ptr, base.len) != 0) continue;
    if (memcmp(t->text + base.len, path.ptr, path.len) != 0) continue;
    return t;
  }
  if (u->n_targets >= TARGETS_MAX) forget_idle_targets(u);
  struct target *t = x_calloc(1, sizeof *t);
  t->text = x_malloc(len + 1);
  memcpy(t->text, base.ptr, base.len);
  memcpy(t->text + base.len, path.ptr, path.len);
  t->text[len] = '\0';
  t->text_len = len;
  list_init(&t->free_calls);
  t->url = libcurl.url();
  REQUIRE(t->url != NULL);
  (void)libcurl.url_set(t->url, CURLUPART_URL, t->text, CURLU_PATH_AS_IS);
  list_push_front(&u->targets, &t->node);
  u->n_targets++;
  return t;
}

static size_t count_lines(struct span text) {
  size_t n = 0;
  for (const char *at = text.ptr, *end = text.ptr + text.len; at < end; at++) {
    at = memchr(at, '\n', (size_t)(end - at));
    if (!at) break;
    n++;
  }
  return n;
}

/* The "Name: value\r\n" lines as libcurl's list; nodes and lines share one allocation. */
static void set_fields(struct curl_call *call) {
  const struct upstream_request *req = &call->req;
  const struct span parts[] = {SPAN("Accept-Encoding: identity\r\nExpect:\r\n"), req->fields[0],
                               req->fields[1]};
  size_t n = 0, len = 0, used = 0;
  for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
    n += count_lines(parts[i]);
    len += parts[i].len;
  }
  call->nodes = x_realloc(call->nodes, n * sizeof *call->nodes + len + 1);
  char *text = (char *)(call->nodes + n), *line = text;
  for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
    if (parts[i].len) memcpy(text + used, parts[i].ptr, parts[i].len);
    used += parts[i].len;
  }
  text[used] = '\0';
  for (size_t i = 0; i < n; i++) {
    char *end = strstr(line, "\r\n");
    REQUIRE(end != NULL); /* lines are checked heads, or ours */
    *end = '\0';
    call->nodes[i] = (struct curl_slist){.data = line, .next = i + 1 < n ? &call->nodes[i + 1] : NULL};
    line = end + 2;
  }
  (void)libcurl.easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->nodes);
}

static void set_body(struct curl_call *call) {
  const struct upstream_request *req = &call->req;
  CURL *e = call->easy;
  if (!req->is_post) {
    (void)libcurl.easy_setopt(e, CURLOPT_HTTPGET, 1L);
    return;
  }
  call->body_len = call->body_at = 0;
  for (unsigned i = 0; i < req->n_body; i++)
    call->body_len += req->body[i].len;
  (void)libcurl.easy_setopt(e, CURLOPT_POST, 1L);
  (void)libcurl.easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
  if (req->n_body <= 1) {
    (void)libcurl.easy_setopt(e, CURLOPT_POSTFIELDS, req->n_body && req->body[0].len ? req->body[0].ptr : "");
  } else if (call->body_len <= POST_INLINE_MAX) {
    /* In one piece it leaves in the same write as the head. */
    call->flat = x_realloc(call->flat, call->body_len + 1);
    (void)on_read_body(call->flat, 1, call->body_len, call);
    (void)libcurl.easy_setopt(e, CURLOPT_POSTFIELDS, call->flat);
  } else {
    (void)libcurl.easy_setopt(e, CURLOPT_POSTFIELDS, NULL);
  }
}

static void start(struct transport *base, const struct upstream_request *req, struct upstream_call **out) {
  struct curl_transport *u = container_of(base, struct curl_transport, base);
  struct target *t = find_target(u, req->base, req->path);
  struct list *node = list_pop_front(&t->free_calls);
  struct curl_call *call;
  if (node) {
    call = container_of(node, struct curl_call, node);
    u->n_free--;
  } else {
    call = x_calloc(1, sizeof *call);
    list_init(&call->node);
    call->base.ops = base->ops;
    call->up = u;
    call->target = t;
    buf_init(&call->head, HTTP_RESPONSE_HEAD_MAX);
    call->easy = new_easy(u, call);
  }
  call->req = *req;
  call->phase = PHASE_HEAD;
  call->interim = 0;
  call->is_cancelled = call->is_paused = false;
  call->bad_answer = NULL;
  call->is_short = call->is_private = false;
  call->error[0] = '\0';
  buf_clear(&call->head);
  u->n_live++;
  t->n_live++;
  list_push_back(&u->starting, &call->node);
  *out = &call->base;
  run(u);
}

/* ---- the end ---- */

/* Nobody will ask for this URL again: neither it nor the handle takes room from those that are asked often. */
static void forget_single(struct curl_call *call) {
  struct curl_transport *u = call->up;
  struct target *t = call->target;
  free_call(call);
  if (t->n_live == 0 && list_is_empty(&t->free_calls)) free_target(u, t);
}

static void recycle(struct curl_call *call) {
  struct curl_transport *u = call->up;
  list_remove(&call->node);
  if (call->is_added) {
    u->depth++;
    (void)libcurl.multi_remove_handle(u->multi, call->easy);
    u->depth--;
    call->is_added = false;
  }
  u->n_live--;
  call->target->n_live--;
  if (call->req.is_single) {
    forget_single(call);
    return;
  }
  if (call->head.cap > 4096) buf_release(&call->head);
  free(call->flat);
  call->flat = NULL;
  if (u->n_free >= FREE_CALLS_MAX || u->is_closing) {
    free_call(call);
    return;
  }
  list_push_front(&call->target->free_calls, &call->node);
  u->n_free++;
}

static enum upstream_end end_of(const struct curl_call *call, CURLcode code) {
  if (call->bad_answer) return UPSTREAM_BAD_ANSWER;
  bool has_head = call->phase == PHASE_BODY;
  switch (code) {
  case CURLE_OK: return has_head ? UPSTREAM_OK : UPSTREAM_NO_ANSWER;
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY: return UPSTREAM_DNS;
  case CURLE_COULDNT_CONNECT: return call->is_short ? UPSTREAM_NO_DESCRIPTOR : UPSTREAM_CONNECT;
  case CURLE_OPERATION_TIMEDOUT: return UPSTREAM_CONNECT_TIMEOUT;
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS:
  case CURLE_SSL_PINNEDPUBKEYNOTMATCH: return UPSTREAM_TLS;
  case CURLE_GOT_NOTHING:
  case CURLE_SEND_ERROR:
  case CURLE_RECV_ERROR: return has_head ? UPSTREAM_CUT : UPSTREAM_NO_ANSWER;
  case CURLE_PARTIAL_FILE: return UPSTREAM_CUT;
  default: return has_head ? UPSTREAM_CUT : UPSTREAM_BAD_ANSWER;
  }
}

static void collect(struct curl_transport *u) {
  CURLMsg *msg;
  int left;
  while ((msg = libcurl.multi_info_read(u->multi, &left))) {
    if (msg->msg != CURLMSG_DONE) continue;
    struct curl_call *call = NULL;
    CURLcode code = msg->data.result;
    (void)libcurl.easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
    if (!call->is_cancelled) {
      /* The handle leaves the multi first: the event below may start a call that uses the connection. */
      u->depth++;
      (void)libcurl.multi_remove_handle(u->multi, call->easy);
      u->depth--;
      call->is_added = false;
      enum upstream_end how = end_of(call, code);
      const char *detail = call->bad_answer                              ? call->bad_answer
                           : how == UPSTREAM_CONNECT && call->is_private ? TRANSPORT_IS_PRIVATE
                           : call->error[0]                              ? call->error
                                                                         : libcurl.easy_strerror(code);
      call->req.events->on_done(call->req.user, how, detail);
    }
    recycle(call);
  }
}

static void add(struct curl_call *call) {
  struct curl_transport *u = call->up;
  set_fields(call);
  set_body(call);
  (void)libcurl.easy_setopt(call->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->req.connect_ms);
  u->depth++;
  CURLMcode code = libcurl.multi_add_handle(u->multi, call->easy);
  u->depth--;
  REQUIRE(code == CURLM_OK);
  call->is_added = true;
}

/* Does all that was put off: cancels, starts, the timeout that is due now, and finished transfers. */
static void run(struct curl_transport *u) {
  if (u->is_running || u->depth) return;
  u->is_running = true;
  bool again = true;
  while (again) {
    again = false;
    struct list *node;
    while ((node = list_pop_front(&u->cancelling)))
      recycle(container_of(node, struct curl_call, node));
    while ((node = list_pop_front(&u->starting))) {
      add(container_of(node, struct curl_call, node));
      again = true;
    }
    if (u->timeout_now) {
      u->timeout_now = false;
      socket_action(u, CURL_SOCKET_TIMEOUT, 0);
      again = true;
    }
    collect(u);
    again = again || !list_is_empty(&u->cancelling) || !list_is_empty(&u->starting) || u->timeout_now;
  }
  u->is_running = false;
}

static void cancel_call(struct upstream_call *base) {
  struct curl_call *call = container_of(base, struct curl_call, base);
  struct curl_transport *u = call->up;
  call->is_cancelled = true;
  list_remove(&call->node); /* not started yet: it never will be */
  list_push_back(&u->cancelling, &call->node);
  run(u);
}

static void pause_call(struct upstream_call *base) {
  struct curl_call *call = container_of(base, struct curl_call, base);
  if (call->is_paused) return;
  call->is_paused = true;
  /* From inside on_data the pause takes effect when that returns, see on_body(). */
  if (call->up->depth || !call->is_added) return;
  call->up->depth++;
  (void)libcurl.easy_pause(call->easy, CURLPAUSE_RECV);
  call->up->depth--;
}

static void resume_call(struct upstream_call *base) {
  struct curl_call *call = container_of(base, struct curl_call, base);
  if (!call->is_paused) return;
  struct curl_transport *u = call->up;
  call->is_paused = false;
  if (!call->is_added) return;
  u->depth++;
  (void)libcurl.easy_pause(call->easy, CURLPAUSE_CONT);
  u->depth--;
  run(u);
}

/* libcurl may hold on to what it was given. */
static bool has_sent(struct upstream_call *base) {
  (void)base;
  return false;
}

static double connect_ms(struct upstream_call *base) {
  struct curl_call *call = container_of(base, struct curl_call, base);
  long fresh = 0;
  curl_off_t ready_us = 0, connect_us = 0, tls_us = 0;
  (void)libcurl.easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &fresh);
  if (!fresh) return 0;
  (void)libcurl.easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
  if (!ready_us) return NAN;
  (void)libcurl.easy_getinfo(call->easy, CURLINFO_CONNECT_TIME_T, &connect_us);
  (void)libcurl.easy_getinfo(call->easy, CURLINFO_APPCONNECT_TIME_T, &tls_us);
  return (double)(tls_us > connect_us ? tls_us : connect_us) / 1000;
}

/* ---- the transport ---- */

static void release(struct transport *base);

static const struct transport_ops OPS = {.start = start,
                                         .cancel = cancel_call,
                                         .pause = pause_call,
                                         .resume = resume_call,
                                         .has_sent = has_sent,
                                         .connect_ms = connect_ms,
                                         .release = release};

struct transport *transport_curl_new(struct loop *loop, const struct upstream_options *options) {
  struct curl_transport *u = x_calloc(1, sizeof *u);
  u->base.ops = &OPS;
  u->loop = loop;
  u->ca_file = options->ca_file ? x_strdup(options->ca_file) : NULL;
  u->idle_s = options->idle_ms >= 1000 ? (long)(options->idle_ms / 1000) : 1;
  list_init(&u->targets);
  list_init(&u->starting);
  list_init(&u->cancelling);
  u->multi = libcurl.multi_init();
  REQUIRE(u->multi != NULL);
  (void)libcurl.multi_setopt(u->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  (void)libcurl.multi_setopt(u->multi, CURLMOPT_SOCKETDATA, u);
  (void)libcurl.multi_setopt(u->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
  (void)libcurl.multi_setopt(u->multi, CURLMOPT_TIMERDATA, u);
  (void)libcurl.multi_setopt(u->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
  (void)libcurl.multi_setopt(u->multi, CURLMOPT_MAXCONNECTS, (long)POOL_CONNECTIONS);
  return &u->base;
}

static void release(struct transport *base) {
  struct curl_transport *u = container_of(base, struct curl_transport, base);
  run(u);
  REQUIRE(u->n_live == 0);
  u->is_closing = true;
  while (!list_is_empty(&u->targets))
    free_target(u, container_of(u->targets.next, struct target, node));
  (void)libcurl.multi_cleanup(u->multi);
  loop_timer_stop(u->loop, &u->timer);
  for (size_t fd = 0; fd < u->n_watches; fd++)
    if (u->watches[fd]) drop_watch(u->watches[fd]);
  free(u->watches);
  free(u->ca_file);
  free(u);
}
