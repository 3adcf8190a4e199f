#include "sim/sim_provider.h"
#include "base/clock.h"
#include "flow/reply.h"
#include "net/listener.h"
#include "wire/json.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define SIM_BODY_MAX (64u * 1024 * 1024)

struct sim {
  struct flow flow; /* for replies: loop, scratch buffers, server, rng */
  struct sim_options options;
  struct listener listener;
  uint16_t port;
  struct list asked;
  uint64_t n_answers;
};

/* One request being answered. */
struct asked {
  struct list node;
  struct sim *sim;
  struct reply reply;
  struct buf body;
  struct wheel_timer timer;
  bool is_chat, is_embedding, is_stream, is_refused, will_cut, will_fail;
  uint64_t first_at_us;
  unsigned n_sent; /* tokens of a stream */
  bool has_role;
  char id[64];
  char res_key_line[64];
};

struct sim_options sim_defaults(void) {
  return (struct sim_options){.host = "127.0.0.1",
                              .name = "sim",
                              .model = "sim-model",
                              .tokens = 24,
                              .status = 500,
                              .res_key = true,
                              .seed = 1};
}

static void forget(struct asked *q) {
  loop_timer_stop(q->sim->flow.loop, &q->timer);
  buf_release(&q->body);
  list_remove(&q->node);
  free(q);
}

static const char *const WORDS[] = {" The",   " moon",    " gate",  " is",    " open", " and",
                                    " every", " request", " finds", " its",   " way",  " across",
                                    " quiet", " water,",  " once",  " again."};

static const char *word(unsigned i) {
  return WORDS[i % ARRAY_LEN(WORDS)];
}

static struct json_writer begin(struct sim *s) {
  struct json_writer w;
  buf_clear(&s->flow.text);
  json_begin(&w, &s->flow.text);
  return w;
}

static void put_usage(struct json_writer *w, const struct asked *q) {
  size_t in = q->body.len / 4;
  json_key(w, "usage");
  json_open(w, '{');
  json_key(w, "prompt_tokens");
  json_int(w, (int64_t)in);
  json_key(w, "completion_tokens");
  json_int(w, q->sim->options.tokens);
  json_key(w, "total_tokens");
  json_int(w, (int64_t)in + q->sim->options.tokens);
  json_close(w, '}');
}

static void put_head(struct json_writer *w, const struct asked *q, const char *object) {
  json_open(w, '{');
  json_key(w, "id");
  json_cstring(w, q->id);
  json_key(w, "object");
  json_cstring(w, object);
  json_key(w, "created");
  json_int(w, (int64_t)(clock_wall_ms() / 1000));
  json_key(w, "model");
  json_cstring(w, q->sim->options.model);
}

static void answer(struct asked *q, int status) {
  struct reply_extra extra = {.fields = span_str(q->res_key_line)};
  if (status == 429 || status == 503) extra.retry_after_s = q->sim->options.retry_after_s;
  reply_text(&q->reply, status, "application/json", buf_span(&q->sim->flow.text), &extra);
  forget(q);
}

static void refuse(struct asked *q, int status, const char *message) {
  struct http_error e = {.status = status, .code = "simulated", .message = span_str(message)};
  buf_clear(&q->sim->flow.text);
  http_put_error_body(&q->sim->flow.text, &e);
  answer(q, status);
}

static void answer_models(struct asked *q) {
  struct json_writer w = begin(q->sim);
  json_open(&w, '{');
  json_key(&w, "object");
  json_cstring(&w, "list");
  json_key(&w, "data");
  json_open(&w, '[');
  json_open(&w, '{');
  json_key(&w, "id");
  json_cstring(&w, q->sim->options.model);
  json_key(&w, "object");
  json_cstring(&w, "model");
  json_key(&w, "owned_by");
  json_cstring(&w, q->sim->options.name);
  json_close(&w, '}');
  json_close(&w, ']');
  json_close(&w, '}');
  answer(q, 200);
}

static void answer_embedding(struct asked *q) {
  struct json_writer w = begin(q->sim);
  put_head(&w, q, "list");
  json_key(&w, "data");
  json_open(&w, '[');
  json_open(&w, '{');
  json_key(&w, "object");
  json_cstring(&w, "embedding");
  json_key(&w, "index");
  json_int(&w, 0);
  json_key(&w, "embedding");
  json_open(&w, '[');
  for (int i = 0; i < 8; i++)
    json_double(&w, rng_double(&q->sim->flow.rng));
  json_close(&w, ']');
  json_close(&w, '}');
  json_close(&w, ']');
  put_usage(&w, q);
  json_close(&w, '}');
  answer(q, 200);
}

static void answer_chat(struct asked *q) {
  struct json_writer w = begin(q->sim);
  put_head(&w, q, "chat.completion");
  json_key(&w, "choices");
  json_open(&w, '[');
  json_open(&w, '{');
  json_key(&w, "index");
  json_int(&w, 0);
  json_key(&w, "message");
  json_open(&w, '{');
  json_key(&w, "role");
  json_cstring(&w, "assistant");
  json_key(&w, "content");
  struct buf content;
  buf_init(&content, SIM_BODY_MAX);
  buf_putf(&content, "[%s]", q->sim->options.name);
  for (unsigned i = 0; i < q->sim->options.tokens; i++)
    buf_put_str(&content, word(i));
  json_string(&w, buf_span(&content));
  buf_release(&content);
  json_close(&w, '}');
  json_key(&w, "finish_reason");
  json_cstring(&w, "stop");
  json_close(&w, '}');
  json_close(&w, ']');
  put_usage(&w, q);
  json_close(&w, '}');
  answer(q, 200);
}

/* ---- streams ---- */

static void put_event(struct buf *out, const struct asked *q, const char *content, const char *finish,
                      bool usage) {
  struct json_writer w;
  buf_put_str(out, "data: ");
  json_begin(&w, out);
  put_head(&w, q, "chat.completion.chunk");
  json_key(&w, "choices");
  json_open(&w, '[');
  if (!usage) {
    json_open(&w, '{');
    json_key(&w, "index");
    json_int(&w, 0);
    json_key(&w, "delta");
    json_open(&w, '{');
    if (!q->has_role) {
      json_key(&w, "role");
      json_cstring(&w, "assistant");
    }
    if (content) {
      json_key(&w, "content");
      json_cstring(&w, content);
    }
    json_close(&w, '}');
    json_key(&w, "finish_reason");
    json_cstring(&w, finish);
    json_close(&w, '}');
  }
  json_close(&w, ']');
  if (usage) put_usage(&w, q);
  json_close(&w, '}');
  buf_put_str(out, "\n\n");
}

static void on_stream_due(struct wheel_timer *t);

static void finish_stream(struct asked *q) {
  struct buf *out = &q->sim->flow.text;
  buf_clear(out);
  put_event(out, q, NULL, "stop", false);
  put_event(out, q, NULL, NULL, true);
  buf_put_str(out, "data: [DONE]\n\n");
  (void)reply_bytes(&q->reply, buf_span(out));
  reply_complete(&q->reply);
  reply_end(&q->reply);
  forget(q);
}

static void send_due_tokens(struct asked *q) {
  struct sim *s = q->sim;
  if (q->reply.conn && conn_pending(q->reply.conn) > CONN_HIGH_WATER) {
    loop_timer_start(s->flow.loop, &q->timer, on_stream_due, 20);
    return;
  }
  double rate = s->options.tokens_per_second;
  unsigned due = s->options.tokens, limit = q->will_cut ? s->options.tokens / 2 : s->options.tokens;
  if (rate > 0) {
    double passed = (double)(clock_mono_us() - q->first_at_us) / 1e6 * rate + 1;
    if (passed < due) due = (unsigned)passed;
  }
  struct buf *out = &s->flow.text;
  buf_clear(out);
  while (q->n_sent < due && q->n_sent < limit && out->len < CONN_HIGH_WATER) {
    put_event(out, q, word(q->n_sent++), NULL, false);
    q->has_role = true;
  }
  if (out->len) (void)reply_bytes(&q->reply, buf_span(out));
  if (q->n_sent >= limit) {
    if (!q->will_cut) {
      finish_stream(q);
      return;
    }
    reply_break(&q->reply, SPAN_NONE);
    forget(q);
    return;
  }
  loop_timer_start(s->flow.loop, &q->timer, on_stream_due, rate > 0 ? (uint64_t)(1000 / rate) + 1 : 1);
}

static void on_stream_due(struct wheel_timer *t) {
  send_due_tokens(container_of(t, struct asked, timer));
}

static void begin_stream(struct asked *q) {
  struct buf fields;
  buf_init(&fields, 1024);
  buf_putf(&fields, "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n%s", q->res_key_line);
  int err = reply_begin(&q->reply, 200, buf_span(&fields), REPLY_LENGTH_UNKNOWN, SPAN_NONE);
  buf_release(&fields);
  (void)err; /* on_gone follows */
  q->first_at_us = clock_mono_us();
  send_due_tokens(q);
}

static void on_latency_over(struct wheel_timer *t) {
  struct asked *q = container_of(t, struct asked, timer);
  if (q->will_fail) {
    refuse(q, q->sim->options.status, "This failure was asked for");
  } else if (q->is_embedding) {
    answer_embedding(q);
  } else if (q->is_stream) {
    begin_stream(q);
  } else if (q->will_cut) {
    struct conn *c = q->reply.conn;
    static const char half[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n{\"id\":\"cut";
    uv_buf_t b = uv_buf_init((char *)half, sizeof half - 1);
    (void)conn_send(c, &b, 1);
    forget(q);
    conn_finish(c, false);
  } else {
    answer_chat(q);
  }
}

/* ---- requests ---- */

static bool happens(struct sim *s, double rate) {
  return rate > 0 && rng_double(&s->flow.rng) < rate;
}

static bool has_key(const struct sim *s, const struct http_request *req) {
  if (!s->options.api_key) return true;
  const struct http_field *f = http_find(req->fields, req->n_fields, HTTP_FIELD_AUTHORIZATION);
  return f && span_starts(f->value, SPAN("Bearer ")) &&
         span_eq(span_make(f->value.ptr + 7, f->value.len - 7), span_str(s->options.api_key));
}

static void on_request(struct conn *c, const struct http_request *req) {
  struct sim *s = c->server->context;
  struct asked *q = x_calloc(1, sizeof *q);
  q->sim = s;
  q->reply = (struct reply){.flow = &s->flow, .conn = c, .keep = true};
  buf_init(&q->body, SIM_BODY_MAX);
  list_push_back(&s->asked, &q->node);
  c->user = q;
  (void)snprintf(q->id, sizeof q->id, "chatcmpl-%.24s-%016llx", s->options.name,
                 (unsigned long long)rng_u64(&s->flow.rng));
  if (!has_key(s, req)) {
    refuse(q, 401, "This provider wants another key");
    return;
  }
  if (req->method == HTTP_GET && span_eq(req->path, SPAN("/v1/models"))) {
    answer_models(q);
    return;
  }
  q->is_chat = req->method == HTTP_POST && span_eq(req->path, SPAN("/v1/chat/completions"));
  q->is_embedding = req->method == HTTP_POST && span_eq(req->path, SPAN("/v1/embeddings"));
  if (!q->is_chat && !q->is_embedding) {
    refuse(q, 404, "A simulated provider knows /v1/models, /v1/chat/completions and /v1/embeddings");
    return;
  }
  if (s->options.res_key) {
    uint64_t a = rng_u64(&s->flow.rng), b = rng_u64(&s->flow.rng);
    (void)snprintf(q->res_key_line, sizeof q->res_key_line, "ZG-Res-Key: %08x-%04x-4%03x-%04x-%012llx\r\n",
                   (unsigned)(a >> 32), (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff,
                   ((unsigned)(b >> 48) & 0x3fff) | 0x8000, (unsigned long long)(b & 0xffffffffffffu));
  }
  if (req->expect_continue) conn_continue(c);
}

static void on_body(struct conn *c, const char *bytes, size_t len, bool is_all) {
  (void)is_all;
  struct asked *q = c->user;
  if (q && buf_append(&q->body, bytes, len)) refuse(q, 413, "The body is too large");
}

static void on_body_end(struct conn *c) {
  struct asked *q = c->user;
  if (!q) return;
  struct sim *s = q->sim;
  struct json_member stream = {.name = SPAN("stream")};
  struct json_object object;
  struct json_fault fault;
  if (json_scan_object(&stream, 1, &object, &fault, buf_span(&q->body))) {
    refuse(q, 400, "The body is not a JSON object");
    return;
  }
  q->is_stream = stream.type == JSON_TRUE;
  q->will_fail = happens(s, s->options.error_rate);
  q->will_cut = happens(s, s->options.truncate_rate);
  if (happens(s, s->options.hang_rate)) return;
  if (s->options.latency_ms)
    loop_timer_start(s->flow.loop, &q->timer, on_latency_over, s->options.latency_ms);
  else
    on_latency_over(&q->timer);
}

static void on_fault(struct conn *c, const struct http_fault *fault) {
  struct asked *q = c->user;
  struct reply r = {.flow = c->server->context, .conn = c};
  r.flow = &((struct sim *)c->server->context)->flow;
  if (q) forget(q);
  reply_fault(&r, fault);
}

static void on_gone(struct conn *c) {
  if (c->user) forget(c->user);
  c->user = NULL;
}

static void on_drained(struct conn *c) {
  (void)c; /* streams look at the pending bytes by their timer */
}

static const struct conn_ops OPS = {.on_request = on_request,
                                    .on_body = on_body,
                                    .on_body_end = on_body_end,
                                    .on_fault = on_fault,
                                    .on_drained = on_drained,
                                    .on_gone = on_gone};

/* ---- life ---- */

struct sim *sim_open(struct loop *loop, const struct sim_options *o, char err[256]) {
  uint16_t port = (uint16_t)o->port;
  const char *why = NULL;
  int fd = listener_bind(o->host, &port, false, &why);
  if (fd < 0) {
    (void)snprintf(err, 256, "cannot listen on %s:%d: %s", o->host, o->port, why);
    return NULL;
  }
  struct sim *s = x_calloc(1, sizeof *s);
  s->options = *o;
  s->port = port;
  s->flow.loop = loop;
  list_init(&s->asked);
  rng_seed(&s->flow.rng, o->seed);
  buf_init(&s->flow.head, 65536);
  buf_init(&s->flow.text, SIM_BODY_MAX);
  struct conn_limits limits = {.head_ms = 30000,
                               .idle_ms = 600000,
                               .write_ms = 600000,
                               .body_rate_bytes = 1,
                               .body_window_ms = 60000,
                               .body_ms = 3600000};
  conn_server_init(&s->flow.server, loop, &OPS, s, &limits);
  if (listener_open(&s->listener, &s->flow.server, fd)) {
    (void)snprintf(err, 256, "cannot listen on %s:%d", o->host, o->port);
    free(s);
    return NULL;
  }
  return s;
}

uint16_t sim_port(const struct sim *s) {
  return s->port;
}

void sim_close(struct sim *s) {
  listener_close(&s->listener);
  conn_server_abort(&s->flow.server);
}

void sim_free(struct sim *s) {
  buf_release(&s->flow.head);
  buf_release(&s->flow.text);
  free(s);
}

static void on_signal(uv_signal_t *h, int number) {
  (void)number;
  uv_stop(h->loop);
}

int sim_main(const struct sim_options *o) {
  struct loop loop;
  char err[256];
  int code = loop_init(&loop);
  if (code) {
    (void)fprintf(stderr, "moongate: %s\n", err_text(code));
    return 1;
  }
  struct sim *s = sim_open(&loop, o, err);
  if (!s) {
    (void)fprintf(stderr, "moongate: %s\n", err);
    loop_close(&loop);
    return 1;
  }
  uv_signal_t on_int, on_term;
  (void)uv_signal_init(&loop.uv, &on_int);
  (void)uv_signal_init(&loop.uv, &on_term);
  (void)uv_signal_start(&on_int, on_signal, SIGINT);
  (void)uv_signal_start(&on_term, on_signal, SIGTERM);
  printf("listening on http://%s:%u\n", o->host, s->port);
  (void)fflush(stdout);
  (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
  uv_close((uv_handle_t *)&on_int, NULL);
  uv_close((uv_handle_t *)&on_term, NULL);
  sim_close(s);
  loop_close(&loop);
  sim_free(s);
  return 0;
}
