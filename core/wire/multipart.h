/*
 * multipart: finds fields of a form (multipart/form-data, RFC 7578 and 2046) in a body that is passed on as it is.
 * A body that is no such form, or stops being one somewhere, is no error: what was found before counts.
 *
 * Thread: any; no state. Spans point into the body. The work is linear in the body's length.
 */
#ifndef MOONGATE_WIRE_MULTIPART_H
#define MOONGATE_WIRE_MULTIPART_H

#include "base/span.h"

#define MULTIPART_BOUNDARY_MAX 70 /* RFC 2046 */

/* A field that the caller looks for; `name` is the caller's, the rest is filled. Files are no fields. */
struct multipart_field {
  struct span name;
  struct span value; /* of the last occurrence, as it stands there */
  unsigned count;    /* occurrences */
};

/* The boundary that a Content-Type names; empty when it is no form's. */
struct span multipart_boundary(struct span content_type);
void multipart_find(struct multipart_field *fields, size_t n, struct span body, struct span boundary);

#endif
