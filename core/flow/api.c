#include "flow/api.h"
#include "flow/overload.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define ASKED_MAX 2048 /* of a preflight's list of names */

static const struct route ROUTES[] = {
    {.path = "/v1/chat/completions",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "chat",
     .upstream_path = "/chat/completions",
     .work = WORK_CHAT,
     .ends_streams = true,
     .answers_json = true,
     .is_chat = true,
     .is_json = true},
    {.path = "/v1/completions",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "completions",
     .upstream_path = "/completions",
     .work = WORK_CHAT,
     .ends_streams = true,
     .answers_json = true,
     .is_json = true},
    {.path = "/v1/embeddings",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "embeddings",
     .upstream_path = "/embeddings",
     .work = WORK_EMBEDDINGS,
     .answers_json = true,
     .is_json = true},
    {.path = "/v1/images/generations",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "images",
     .upstream_path = "/images/generations",
     .work = WORK_IMAGES,
     .answers_json = true,
     .is_json = true},
    {.path = "/v1/images/edits",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "images",
     .upstream_path = "/images/edits",
     .work = WORK_IMAGE_EDITS,
     .answers_json = true},
    {.path = "/v1/audio/transcriptions",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "audio",
     .upstream_path = "/audio/transcriptions",
     .work = WORK_TRANSCRIPTION},
    {.path = "/v1/audio/speech",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "audio",
     .upstream_path = "/audio/speech",
     .work = WORK_SPEECH,
     .is_json = true},
    {.path = "/v1/responses",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "responses",
     .upstream_path = "/responses",
     .work = WORK_CHAT,
     .ends_streams = true,
     .answers_json = true,
     .is_json = true},
    {.path = "/v1/messages",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = exchange_balance,
     .kind = "messages",
     .upstream_path = "/messages",
     .work = WORK_CHAT,
     .ends_streams = true,
     .answers_json = true,
     .is_json = true},
    {.path = "/v1/models", .is_get = true, .guard = GUARD_CLIENT, .handle = models_list},
    {.path = "/v1/models/", .is_prefix = true, .is_get = true, .guard = GUARD_CLIENT, .handle = models_one},
    {.path = "/v1/verify",
     .is_post = true,
     .guard = GUARD_CLIENT,
     .handle = verify_answer,
     .body_max = 16384},
    {.path = "/", .is_get = true, .guard = GUARD_NONE, .handle = admin_welcome},
    {.path = "/health", .is_get = true, .guard = GUARD_NONE, .handle = admin_health},
    {.path = "/admin/providers", .is_get = true, .guard = GUARD_ADMIN, .handle = admin_providers},
    {.path = "/admin/providers/",
     .is_prefix = true,
     .is_post = true,
     .guard = GUARD_ADMIN,
     .handle = admin_switch_provider,
     .body_max = 4096},
    {.path = "/admin/reload",
     .is_post = true,
     .guard = GUARD_ADMIN,
     .handle = admin_reload,
     .body_max = 4096},
    {.path = "/metrics", .is_get = true, .guard = GUARD_ADMIN, .handle = metrics_page},
    {.path = "/admin/strategy", .is_get = true, .guard = GUARD_ADMIN, .handle = admin_strategy},
};

static const struct route *find_route(struct span path) {
  for (size_t i = 0; i < ARRAY_LEN(ROUTES); i++) {
    struct span p = span_str(ROUTES[i].path);
    if (ROUTES[i].is_prefix ? span_starts(path, p) && path.len > p.len : span_eq(path, p)) return &ROUTES[i];
  }
  return NULL;
}

static const char *allowed_methods(const struct route *r) {
  return r->is_get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
}

/* ---- who may ---- */

static struct span bearer(const struct http_request *req) {
  const struct http_field *f = http_find(req->fields, req->n_fields, HTTP_FIELD_AUTHORIZATION);
  if (!f || !span_starts_nocase(f->value, SPAN("Bearer "))) return SPAN_NONE;
  return span_trim(span_make(f->value.ptr + 7, f->value.len - 7));
}

static bool has_client_key(const struct settings *s, const struct http_request *req) {
  if (!s->client_keys || !*s->client_keys) return true;
  struct span given = bearer(req);
  if (!given.len) {
    /* the Anthropic and Azure spellings */
    const struct http_field *f = http_find(req->fields, req->n_fields, HTTP_FIELD_X_API_KEY);
    if (!f) f = http_find(req->fields, req->n_fields, HTTP_FIELD_API_KEY);
    if (f) given = f->value;
  }
  bool found = false;
  for (char **key = s->client_keys; *key; key++)
    found |= equal_constant_time(given.ptr, given.len, *key, strlen(*key));
  return found;
}

static bool is_loopback_name(struct span host) {
  if (host.len && host.ptr[0] == '[') {
    const char *end = memchr(host.ptr, ']', host.len);
    if (!end) return false;
    return span_eq(span_make(host.ptr, (size_t)(end - host.ptr) + 1), SPAN("[::1]"));
  }
  const char *colon = memchr(host.ptr, ':', host.len);
  if (colon) host.len = (size_t)(colon - host.ptr);
  if (span_eq_nocase(host, SPAN("localhost"))) return true;
  /* 127.0.0.0/8 in its usual form; anything else ("127.evil.example", "127.1") is a name */
  char text[INET_ADDRSTRLEN];
  unsigned char bytes[4];
  if (host.len >= sizeof text) return false;
  span_to_text(text, sizeof text, host);
  return inet_pton(AF_INET, text, bytes) == 1 && bytes[0] == 127;
}

static bool is_loopback_origin(struct span origin) {
  size_t scheme = span_starts(origin, SPAN("http://"))    ? sizeof "http://" - 1
                  : span_starts(origin, SPAN("https://")) ? sizeof "https://" - 1
                                                          : 0;
  return scheme && is_loopback_name(span_make(origin.ptr + scheme, origin.len - scheme));
}

/* A page on another site must not reach the admin routes through somebody's browser (rebinding, forged
 * requests). Browsers say where a request comes from in one of two fields, most in both. */
static bool is_foreign(const struct http_request *req) {
  for (unsigned i = 0; i < req->n_fields; i++) {
    const struct http_field *f = &req->fields[i];
    if (f->id == HTTP_FIELD_ORIGIN && !is_loopback_origin(f->value)) return true;
    if (span_eq_nocase(f->name, SPAN("sec-fetch-site")) && span_eq_nocase(f->value, SPAN("cross-site")))
      return true;
  }
  return false;
}

/* NULL when allowed; else what to say. */
static const char *admin_refusal(const struct settings *s, const struct conn *c,
                                 const struct http_request *req, int *status) {
  if (s->admin_token) {
    struct span given = bearer(req);
    *status = 401;
    if (equal_constant_time(given.ptr, given.len, s->admin_token, strlen(s->admin_token))) return NULL;
    return "This route needs the admin token: Authorization: Bearer …";
  }
  *status = 403;
  if (!c->peer_is_loopback)
    return "Admin routes answer only loopback clients while no adminToken is configured";
  if (!is_loopback_name(req->host))
    return "Admin routes need a loopback Host while no adminToken is configured";
  if (is_foreign(req)) return "Admin routes refuse requests that a page of another site makes";
  return NULL;
}

static void refuse(struct exchange *x, int status, const char *code, const char *message) {
  static const struct reply_extra challenge = {.fields = {"WWW-Authenticate: Bearer\r\n", 26}};
  exchange_error_with(x, status, code, span_str(message), status == 401 ? &challenge : NULL);
}

static bool is_let_in(struct exchange *x, const struct conn *c, const struct http_request *req) {
  const struct settings *s = &x->plan->settings;
  if (x->route->guard == GUARD_CLIENT && !has_client_key(s, req)) {
    refuse(x, 401, "invalid_api_key", "Incorrect API key provided");
    return false;
  }
  if (x->route->guard == GUARD_ADMIN) {
    int status = 0;
    const char *refusal = admin_refusal(s, c, req, &status);
    if (refusal) {
      refuse(x, status, status == 401 ? "invalid_admin_token" : "admin_forbidden", refusal);
      return false;
    }
  }
  return true;
}

/* Bodies are read here, and none of the fields that say how they are packed goes on. False: that has been answered. */
static bool is_plain(struct exchange *x, const struct http_request *req) {
  const struct http_field *f = http_find(req->fields, req->n_fields, HTTP_FIELD_CONTENT_ENCODING);
  if (LIKELY(!f) || span_eq_nocase(f->value, SPAN("identity"))) return true;
  static const struct reply_extra accepted = {.fields = {"Accept-Encoding: identity\r\n", 27}};
  exchange_error_with(x, 415, "unsupported_content_encoding",
                      SPAN("Request bodies must come without Content-Encoding"), &accepted);
  return false;
}

/* ---- events of connections ---- */

/*
 * What a page of an allowed origin wants to send with its request, when that is a list of names: client libraries have
 * fields of their own, more with each version. What goes on to providers is decided elsewhere.
 */
static struct span asked_fields(const struct http_request *req) {
  struct span name = SPAN("access-control-request-headers");
  for (unsigned i = 0; i < req->n_fields; i++) {
    struct span value = req->fields[i].value;
    if (!span_eq_nocase(req->fields[i].name, name)) continue;
    for (size_t k = 0; k < value.len; k++)
      if (!http_is_token(span_make(value.ptr + k, 1)) && value.ptr[k] != ',' && value.ptr[k] != ' ')
        return SPAN_NONE;
    return value.len <= ASKED_MAX ? value : SPAN_NONE;
  }
  return SPAN_NONE;
}

static void answer_options(struct exchange *x, const struct http_request *req) {
  struct reply_extra extra = {.allow = x->route ? allowed_methods(x->route) : "GET, HEAD, POST, OPTIONS",
                              .is_preflight = x->reply.cors_origin.len > 0,
                              .asked_fields = asked_fields(req)};
  exchange_answer(x, 204, NULL, SPAN_NONE, &extra);
}

static void on_request(struct conn *c, const struct http_request *req) {
  struct flow *f = c->server->context;
  const struct route *route = find_route(req->path);
  struct exchange *x = exchange_new(f, c, req, route);
  if (req->method == HTTP_OPTIONS && (route || span_eq(req->target, SPAN("*")))) {
    answer_options(x, req);
    return;
  }
  if (!route) {
    char text[160];
    (void)snprintf(text, sizeof text, "Unknown route %.*s %.*s", SPAN_FMT(req->method_text),
                   (int)(req->path.len < 80 ? req->path.len : 80), req->path.ptr);
    exchange_error(x, 404, NULL, "not_found", text);
    return;
  }
  bool is_allowed =
      route->is_get ? req->method == HTTP_GET || req->method == HTTP_HEAD : req->method == HTTP_POST;
  if (!is_allowed) {
    struct reply_extra extra = {.allow = allowed_methods(route)};
    exchange_error_with(x, 405, "method_not_allowed", SPAN("This route does not know that method"), &extra);
    return;
  }
  if (c->is_over && route->guard == GUARD_CLIENT) {
    overload_refuse(x, "Too many connections; try again shortly");
    return;
  }
  if (!is_let_in(x, c, req)) return;
  if (route->is_get && req->framing != HTTP_NO_BODY) {
    route->handle(x); /* a body says nothing here, and is read away when it is small */
    return;
  }
  if (route->kind && (!is_plain(x, req) || !overload_admit(x))) return;
  if (req->framing == HTTP_LENGTH && req->content_length > x->body.max) {
    exchange_fault(x, &HTTP_FAULT_BODY_TOO_LARGE);
    return;
  }
  if (req->expect_continue) conn_continue(c);
}

static void on_body(struct conn *c, const char *bytes, size_t len, bool is_all) {
  struct exchange *x = c->user;
  if (x) (void)exchange_add_body(x, bytes, len, is_all);
}

static char *on_body_room(struct conn *c, size_t want, size_t *room) {
  return c->user ? exchange_body_room(c->user, want, room) : NULL;
}

static void on_body_ahead(struct conn *c, uint64_t bytes) {
  if (c->user) exchange_expect_body(c->user, bytes);
}

static void on_body_end(struct conn *c) {
  struct exchange *x = c->user;
  if (x) x->route->handle(x);
}

static void on_fault(struct conn *c, const struct http_fault *fault) {
  struct exchange *x = c->user;
  if (!x) x = exchange_new(c->server->context, c, NULL, NULL);
  exchange_fault(x, fault);
}

static void on_drained(struct conn *c) {
  if (c->user) exchange_drained(c->user);
}

static void on_gone(struct conn *c) {
  struct exchange *x = c->user;
  c->user = NULL;
  if (x) exchange_client_gone(x);
}

const struct conn_ops API_CONN_OPS = {
    .on_request = on_request,
    .on_body = on_body,
    .on_body_room = on_body_room,
    .on_body_ahead = on_body_ahead,
    .on_body_end = on_body_end,
    .on_fault = on_fault,
    .on_drained = on_drained,
    .on_gone = on_gone,
};
