/*
 * The second reader: llhttp reads heads, too, and one that it reads otherwise than we do is refused. Who reads what we
 * pass on may read as llhttp does, so nothing passes that the two disagree about.
 *
 * Thread: any; llhttp's state is on the stack.
 */
#include "wire/http_head.h"
#include "wire/http_private.h"

#include <llhttp.h>

const struct http_fault HTTP_FAULT_UNKNOWN_METHOD = {501, "unknown_method", "the method is not known here"};

static const struct http_fault DISAGREEMENT = {400, "bad_request", "the head is malformed"};

/*
 * What two readers could take differently: other versions, methods and targets than the usual ones, and whatever
 * makes split.is_plain false. In what is left there is nothing to disagree about; the fuzz targets make sure that
 * llhttp never does.
 */
static bool is_plain(const struct http_reading *ours, struct span start) {
  if (!ours->is_plain || ours->minor != 1 || ours->is_chunked) return false;
  if (ours->status)
    return ours->status >= 200 && ours->status != 204 && ours->status != 304 && ours->has_length;
  if (!span_eq(ours->method, SPAN("POST")) && !span_eq(ours->method, SPAN("GET"))) return false;
  const char *at = start.ptr + ours->method.len + 1;
  if (*at != '/') return false;
  while (http_is(*at, IS_PLAIN_PATH))
    at++;
  return *at == ' ';
}

static int on_field(llhttp_t *parser) {
  unsigned *n = parser->data;
  ++*n;
  return 0;
}

/* Bodies are none of llhttp's business: it stops here, with the state of the complete head. */
static int on_head(llhttp_t *parser) {
  (void)parser;
  return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {.on_header_field_complete = on_field,
                                           .on_headers_complete = on_head};

const struct http_fault *http_read_twice(const struct http_reading *ours, struct span start,
                                         struct span lines) {
  return is_plain(ours, start) ? NULL : http_read_again(ours, start, lines);
}

const struct http_fault *http_read_again(const struct http_reading *ours, struct span start,
                                         struct span lines) {
  llhttp_t theirs;
  unsigned n_fields = 0;
  llhttp_init(&theirs, ours->status ? HTTP_RESPONSE : HTTP_REQUEST, &SETTINGS);
  theirs.data = &n_fields;
  llhttp_errno_t err = llhttp_execute(&theirs, start.ptr, start.len);
  if (err == HPE_OK) err = llhttp_execute(&theirs, lines.ptr, lines.len);
  if (!ours->status && (err == HPE_INVALID_METHOD || err == HPE_INVALID_CONSTANT))
    return &HTTP_FAULT_UNKNOWN_METHOD;
  if (err != HPE_PAUSED || n_fields != ours->n_fields) return &DISAGREEMENT;
  if (theirs.http_major != 1 || theirs.http_minor != ours->minor) return &DISAGREEMENT;
  if (ours->status ? theirs.status_code != ours->status
                   : !span_eq(span_str(llhttp_method_name(theirs.method)), ours->method))
    return &DISAGREEMENT;
  bool is_coded = theirs.flags & F_TRANSFER_ENCODING, is_chunked = theirs.flags & F_CHUNKED;
  if (is_coded != ours->is_chunked || is_chunked != ours->is_chunked) return &DISAGREEMENT;
  bool has_length = theirs.flags & F_CONTENT_LENGTH;
  if (has_length != ours->has_length || (has_length && theirs.content_length != ours->length))
    return &DISAGREEMENT;
  return NULL;
}
