/*
 * The words of HTTP: which bytes tokens, hosts and paths are made of, and what a status is called.
 *
 * Thread: any; no state.
 */
#include "wire/http_private.h"

#include <arpa/inet.h>

/* ---- characters ---- */

/* clang-format off */
const uint8_t HTTP_CLASS[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     2,  7,  2,  3,  7,  3,  7,  7,  6,  6,  7,  7,  2, 15, 15, 10,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  2,  6,  2,  6,  2,  2,
     2, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  2,  2,  2,  3, 15,
     3, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  2,  3,  2,  7,  0,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
};
/* clang-format on */

bool http_is_token(struct span s) {
  for (size_t i = 0; i < s.len; i++)
    if (!http_is(s.ptr[i], IS_TOKEN)) return false;
  return s.len > 0;
}

/* ---- paths and hosts ---- */

struct span http_path_text(char *out, size_t room, struct span part) {
  size_t n = 0;
  for (size_t i = 0; i < part.len; i++) {
    if (n == room) return SPAN_NONE;
    bool is_escape = part.ptr[i] == '%';
    int high = is_escape && i + 2 < part.len ? hex_digit(part.ptr[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(part.ptr[i + 2]) : -1;
    if (is_escape && low < 0) return SPAN_NONE;
    out[n++] = is_escape ? (char)(high << 4 | low) : part.ptr[i];
    if (is_escape) i += 2;
  }
  return span_make(out, n);
}

static bool is_reg_name(struct span s) {
  for (size_t i = 0; i < s.len; i++) {
    if (http_is(s.ptr[i], IS_REG_NAME)) continue;
    if (s.ptr[i] != '%' || s.len - i < 3 || hex_digit(s.ptr[i + 1]) < 0 || hex_digit(s.ptr[i + 2]) < 0)
      return false;
    i += 2;
  }
  return s.len > 0;
}

static bool is_ipv6(struct span s) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr address;
  if (s.len >= sizeof text || memchr(s.ptr, 0, s.len)) return false;
  memcpy(text, s.ptr, s.len);
  text[s.len] = 0;
  return inet_pton(AF_INET6, text, &address) == 1;
}

bool http_is_host(struct span s) {
  if (s.len == 0 || s.len > 255 + sizeof ":65535" - 1) return false;
  const char *end = s.ptr + s.len, *host_end;
  if (s.ptr[0] == '[') {
    const char *bracket = memchr(s.ptr, ']', s.len);
    if (!bracket || !is_ipv6(span_make(s.ptr + 1, (size_t)(bracket - s.ptr - 1)))) return false;
    host_end = bracket + 1;
  } else {
    const char *colon = memchr(s.ptr, ':', s.len);
    host_end = colon ? colon : end;
    if (!is_reg_name(span_make(s.ptr, (size_t)(host_end - s.ptr)))) return false;
  }
  if (host_end == end) return true;
  uint64_t port;
  return *host_end == ':' && span_to_u64(span_make(host_end + 1, (size_t)(end - host_end - 1)), 65535, &port);
}

/* ---- status ---- */

const char *http_reason(int status) {
  switch (status) {
  case 100: return "Continue";
  case 101: return "Switching Protocols";
  case 102: return "Processing";
  case 103: return "Early Hints";
  case 200: return "OK";
  case 201: return "Created";
  case 202: return "Accepted";
  case 203: return "Non-Authoritative Information";
  case 204: return "No Content";
  case 205: return "Reset Content";
  case 206: return "Partial Content";
  case 207: return "Multi-Status";
  case 208: return "Already Reported";
  case 226: return "IM Used";
  case 300: return "Multiple Choices";
  case 301: return "Moved Permanently";
  case 302: return "Found";
  case 303: return "See Other";
  case 304: return "Not Modified";
  case 305: return "Use Proxy";
  case 307: return "Temporary Redirect";
  case 308: return "Permanent Redirect";
  case 400: return "Bad Request";
  case 401: return "Unauthorized";
  case 402: return "Payment Required";
  case 403: return "Forbidden";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 406: return "Not Acceptable";
  case 407: return "Proxy Authentication Required";
  case 408: return "Request Timeout";
  case 409: return "Conflict";
  case 410: return "Gone";
  case 411: return "Length Required";
  case 412: return "Precondition Failed";
  case 413: return "Content Too Large";
  case 414: return "URI Too Long";
  case 415: return "Unsupported Media Type";
  case 416: return "Range Not Satisfiable";
  case 417: return "Expectation Failed";
  case 421: return "Misdirected Request";
  case 422: return "Unprocessable Content";
  case 423: return "Locked";
  case 424: return "Failed Dependency";
  case 425: return "Too Early";
  case 426: return "Upgrade Required";
  case 428: return "Precondition Required";
  case 429: return "Too Many Requests";
  case 431: return "Request Header Fields Too Large";
  case 451: return "Unavailable For Legal Reasons";
  case 499: return "Client Closed Request";
  case 500: return "Internal Server Error";
  case 501: return "Not Implemented";
  case 502: return "Bad Gateway";
  case 503: return "Service Unavailable";
  case 504: return "Gateway Timeout";
  case 505: return "HTTP Version Not Supported";
  case 506: return "Variant Also Negotiates";
  case 507: return "Insufficient Storage";
  case 508: return "Loop Detected";
  case 511: return "Network Authentication Required";
  default: return "";
  }
}
