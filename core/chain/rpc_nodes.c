#include "chain/rpc_nodes.h"

#include "base/redact.h"

#include <stdio.h>
#include <stdlib.h>

#define URL_MAX     2048
#define KEY_LEN_MIN 12 /* a path of fewer bytes is no key */

void rpc_nodes_init(struct rpc_nodes *nodes) {
  *nodes = (struct rpc_nodes){0};
  rng_seed_os(&nodes->rng);
}

void rpc_nodes_release(struct rpc_nodes *nodes) {
  for (unsigned i = 0; i < nodes->n; i++) {
    free(nodes->list[i].origin);
    wipe(nodes->list[i].target, strlen(nodes->list[i].target));
    free(nodes->list[i].target);
  }
  nodes->n = 0;
}

const char *rpc_nodes_add(struct rpc_nodes *nodes, struct span url) {
  if (nodes->n == RPC_NODES_MAX) return "too many nodes";
  if (url.len > URL_MAX) return "the URL is too long";
  size_t scheme = span_starts_nocase(url, SPAN("http://"))    ? 7
                  : span_starts_nocase(url, SPAN("https://")) ? 8
                                                              : 0;
  if (!scheme) return "the URL of a node begins with http:// or https://";
  size_t end = scheme;
  for (size_t i = 0; i < url.len; i++) {
    unsigned char c = (unsigned char)url.ptr[i];
    if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}#", c))
      return "the URL has a character that it cannot have";
    if (c == '@' && i >= scheme) return "a user or password in the URL is not supported";
  }
  while (end < url.len && url.ptr[end] != '/' && url.ptr[end] != '?')
    end++;
  if (end == scheme) return "the URL names no host";
  struct rpc_node *node = &nodes->list[nodes->n++];
  *node = (struct rpc_node){.origin = x_strndup(url.ptr, end)};
  struct span rest = span_make(url.ptr + end, url.len - end);
  node->target = x_malloc(rest.len + 2);
  bool needs_slash = rest.len == 0 || rest.ptr[0] == '?';
  (void)snprintf(node->target, rest.len + 2, "%s%.*s", needs_slash ? "/" : "", SPAN_FMT(rest));
  if (rest.len >= KEY_LEN_MIN) redact_add(span_str(node->target));
  return NULL;
}

int rpc_nodes_pick(const struct rpc_nodes *nodes, unsigned tried, uint64_t now_ms) {
  for (unsigned i = 0; i < nodes->n; i++)
    if (!(tried >> i & 1) && nodes->list[i].not_before_ms <= now_ms) return (int)i;
  return -1;
}

static void leave_alone(struct rpc_nodes *nodes, struct rpc_node *node, const char *why, uint64_t ms,
                        uint64_t now_ms) {
  node->failures++;
  node->is_checked = false;
  node->not_before_ms = now_ms + ms + rng_below(&nodes->rng, (uint32_t)(ms / 5) + 1);
  (void)snprintf(node->trouble, sizeof node->trouble, "%s", why);
}

void rpc_nodes_failed(struct rpc_nodes *nodes, int i, const char *why, uint64_t wait_ms, uint64_t now_ms) {
  struct rpc_node *node = &nodes->list[i];
  uint64_t ms = RPC_WAIT_FIRST_MS;
  for (unsigned k = 0; k < node->failures && ms < RPC_WAIT_MAX_MS; k++)
    ms *= 2;
  if (ms < wait_ms) ms = wait_ms;
  if (ms > RPC_WAIT_MAX_MS) ms = RPC_WAIT_MAX_MS;
  leave_alone(nodes, node, why, ms, now_ms);
}

void rpc_nodes_worked(struct rpc_nodes *nodes, int i) {
  struct rpc_node *node = &nodes->list[i];
  node->failures = 0;
  node->not_before_ms = 0;
  node->trouble[0] = '\0';
}

bool rpc_nodes_check(struct rpc_nodes *nodes, int i, uint64_t chain_id, uint64_t now_ms) {
  if (!nodes->chain_id) nodes->chain_id = chain_id;
  if (chain_id == nodes->chain_id) {
    nodes->list[i].is_checked = true;
    nodes->list[i].checked_ms = now_ms;
    return true;
  }
  char why[RPC_NODE_TROUBLE];
  (void)snprintf(why, sizeof why, "it is on chain %llu, not on %llu as the others",
                 (unsigned long long)chain_id, (unsigned long long)nodes->chain_id);
  leave_alone(nodes, &nodes->list[i], why, RPC_WAIT_OTHER_MS, now_ms);
  return false;
}

bool rpc_nodes_needs_check(const struct rpc_nodes *nodes, int i, uint64_t now_ms) {
  const struct rpc_node *node = &nodes->list[i];
  return !node->is_checked || now_ms - node->checked_ms >= RPC_CHECK_MS;
}

void rpc_nodes_doubt(struct rpc_nodes *nodes) {
  for (unsigned i = 0; i < nodes->n; i++)
    nodes->list[i].is_checked = false;
}

uint64_t rpc_nodes_wait_ms(const struct rpc_nodes *nodes, uint64_t now_ms) {
  uint64_t least = UINT64_MAX;
  for (unsigned i = 0; i < nodes->n; i++) {
    uint64_t at = nodes->list[i].not_before_ms;
    uint64_t ms = at > now_ms ? at - now_ms : 0;
    if (ms < least) least = ms;
  }
  return least == UINT64_MAX ? 0 : least;
}

void rpc_nodes_trouble(const struct rpc_nodes *nodes, char *out, size_t cap) {
  size_t len = 0;
  out[0] = '\0';
  for (unsigned i = 0; i < nodes->n && len + 1 < cap; i++) {
    const struct rpc_node *node = &nodes->list[i];
    if (!node->trouble[0]) continue;
    int n = snprintf(out + len, cap - len, "%s%s: %s", len ? "; " : "", node->origin, node->trouble);
    len = n < 0 || (size_t)n >= cap - len ? cap - 1 : len + (size_t)n;
  }
}
