#include "daemon/verify_command.h"
#include "base/redact.h"
#include "net/curl_library.h"
#include "wire/json.h"

#include <stdio.h>

#define ANSWER_MAX (64u * 1024)
#define TOTAL_S    90L /* a provider may sign late */

/* ---- telling ---- */

static struct span text_of(const struct json_member *m, char *out, size_t size) {
  size_t len;
  if (m->type != JSON_STRING || json_unescape(out, size, &len, m->value)) return SPAN_NONE;
  for (size_t i = 0; i < len; i++) /* what a server says must not steer a terminal */
    if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f) out[i] = '?';
  return span_make(out, len);
}

static bool scan(struct json_member *m, size_t n, struct span text) {
  struct json_object object;
  struct json_fault fault;
  return text.len && json_scan_object(m, n, &object, &fault, text) == 0;
}

static int tell_error(struct buf *out, int status, struct span body) {
  struct json_member error = {.name = SPAN("error")}, message = {.name = SPAN("message")};
  char text[1024];
  struct span said = SPAN_NONE;
  if (scan(&error, 1, body) && error.type == JSON_OBJECT && scan(&message, 1, error.value))
    said = text_of(&message, text, sizeof text);
  if (said.len)
    buf_putf(out, "not verified: %.*s (status %d)\n", SPAN_FMT(said), status);
  else
    buf_putf(out, "not verified: the balancer answered with status %d\n", status);
  return 1;
}

enum { CHECK_SIGNATURE, CHECK_RESPONSE, CHECK_REQUEST, CHECK_REASON, CHECK_REASONS, CHECKS };

static void tell_checks(struct buf *out, struct span checks) {
  static const char *const labels[] = {"signature", "response", "request"};
  struct json_member m[CHECKS] = {{.name = SPAN("signature")},
                                  {.name = SPAN("response")},
                                  {.name = SPAN("request")},
                                  {.name = SPAN("reason")},
                                  {.name = SPAN("reasons")}};
  struct json_member why[3] = {
      {.name = SPAN("signature")}, {.name = SPAN("response")}, {.name = SPAN("request")}};
  char verdict[64], reason[1024];
  if (!scan(m, CHECKS, checks)) return;
  bool has_reasons =
      m[CHECK_REASONS].type == JSON_OBJECT && scan(why, ARRAY_LEN(why), m[CHECK_REASONS].value);
  for (int i = CHECK_SIGNATURE; i <= CHECK_REQUEST; i++) {
    struct span v = text_of(&m[i], verdict, sizeof verdict);
    struct span r = has_reasons ? text_of(&why[i], reason, sizeof reason) : SPAN_NONE;
    buf_putf(out, "  %-10s %.*s%s%.*s\n", labels[i], SPAN_FMT(v), r.len ? ": " : "", SPAN_FMT(r));
  }
}

int verify_tell(struct buf *out, int status, struct span body) {
  enum { VALID, PROVIDER, SIGNER, EXPECTED, M_CHECKS, NOTE, N };
  struct json_member m[N] = {{.name = SPAN("isValid")}, {.name = SPAN("provider")},
                             {.name = SPAN("signer")},  {.name = SPAN("expectedSigner")},
                             {.name = SPAN("checks")},  {.name = SPAN("note")}};
  char provider[256], signer[256], note[1024];
  if (status != 200 || !scan(m, N, body) || m[VALID].count == 0) return tell_error(out, status, body);
  struct span p = text_of(&m[PROVIDER], provider, sizeof provider);
  struct span s = text_of(&m[SIGNER], signer, sizeof signer);
  bool is_valid = m[VALID].type == JSON_TRUE;
  if (m[VALID].type == JSON_NULL) {
    struct span n = text_of(&m[NOTE], note, sizeof note);
    buf_putf(out, "cannot be verified: %.*s (provider %.*s)\n", SPAN_FMT(n), SPAN_FMT(p));
    return 1;
  }
  buf_putf(out,
           is_valid ? "valid: provider %.*s signed this answer\n"
                    : "NOT VALID: the answer of provider %.*s is not proved\n",
           SPAN_FMT(p));
  if (s.len) buf_putf(out, "  %-10s %.*s\n", "signed by", SPAN_FMT(s));
  struct span expected = text_of(&m[EXPECTED], signer, sizeof signer);
  if (!is_valid && expected.len) buf_putf(out, "  %-10s %.*s\n", "expected", SPAN_FMT(expected));
  if (m[M_CHECKS].type == JSON_OBJECT) tell_checks(out, m[M_CHECKS].value);
  return is_valid ? 0 : 1;
}

/* ---- asking ---- */

static size_t on_bytes(char *bytes, size_t size, size_t n, void *user) {
  return buf_append(user, bytes, size * n) ? 0 : size * n;
}

static struct curl_slist *make_fields(const struct verify_options *o) {
  struct curl_slist *fields = libcurl.slist_append(NULL, "Content-Type: application/json");
  if (!o->api_key) return fields;
  struct buf line;
  buf_init(&line, 8192);
  buf_putf(&line, "Authorization: Bearer %s", o->api_key);
  fields = libcurl.slist_append(fields, buf_cstr(&line));
  wipe(line.data, line.len);
  buf_release(&line);
  return fields;
}

/* The status; 0, with what is wrong in `error`, when there was no answer. */
static int ask(const struct verify_options *o, struct buf *answer, char error[CURL_ERROR_SIZE]) {
  struct buf url, body;
  buf_init(&url, 1024);
  buf_init(&body, 16384);
  bool is_v6 = strchr(o->host, ':') && o->host[0] != '[';
  buf_putf(&url, "http://%s%s%s:%d/v1/verify", is_v6 ? "[" : "", o->host, is_v6 ? "]" : "", o->port);
  struct json_writer w;
  json_begin(&w, &body);
  json_open(&w, '{');
  json_key(&w, "id");
  json_cstring(&w, o->id);
  json_close(&w, '}');
  struct curl_slist *fields = make_fields(o);
  CURL *c = libcurl.easy_init();
  REQUIRE(c && fields);
  error[0] = '\0';
  (void)libcurl.easy_setopt(c, CURLOPT_URL, buf_cstr(&url));
  (void)libcurl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
  (void)libcurl.easy_setopt(c, CURLOPT_PROXY, "");
  (void)libcurl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  (void)libcurl.easy_setopt(c, CURLOPT_HTTPHEADER, fields);
  (void)libcurl.easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)body.len);
  (void)libcurl.easy_setopt(c, CURLOPT_POSTFIELDS, body.data);
  (void)libcurl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 5L);
  (void)libcurl.easy_setopt(c, CURLOPT_TIMEOUT, TOTAL_S);
  (void)libcurl.easy_setopt(c, CURLOPT_ERRORBUFFER, error);
  (void)libcurl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
  (void)libcurl.easy_setopt(c, CURLOPT_WRITEDATA, answer);
  CURLcode code = libcurl.easy_perform(c);
  long status = 0;
  (void)libcurl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  if (code && !error[0]) (void)snprintf(error, CURL_ERROR_SIZE, "%s", libcurl.easy_strerror(code));
  libcurl.easy_cleanup(c);
  libcurl.slist_free_all(fields);
  buf_release(&url);
  buf_release(&body);
  return code ? 0 : (int)status;
}

int verify_main(const struct verify_options *o) {
  struct buf answer, text;
  char error[CURL_ERROR_SIZE];
  const char *trouble = curl_library_load();
  if (trouble) {
    (void)fprintf(stderr, "moongate verify: %s\n", trouble);
    return 1;
  }
  if (strlen(o->id) > 4096 || strlen(o->host) > 255) {
    (void)fprintf(stderr, "moongate verify: the id or the host is too long\n");
    return 1;
  }
  buf_init(&answer, ANSWER_MAX);
  buf_init(&text, 4 * ANSWER_MAX);
  int status = ask(o, &answer, error), code = 1;
  if (status == 0) {
    (void)fprintf(stderr,
                  "moongate verify: no answer from the balancer at %s port %d: %s; is it running? see --host "
                  "and --port\n",
                  o->host, o->port, error);
  } else {
    code = verify_tell(&text, status, buf_span(&answer));
    if (o->is_json) {
      (void)fwrite(answer.data, 1, answer.len, stdout);
      (void)fputc('\n', stdout);
    } else {
      (void)fwrite(text.data, 1, text.len, stdout);
    }
  }
  buf_release(&answer);
  buf_release(&text);
  return code;
}
