#include "chain/market.h"

#include <stdio.h>
#include <stdlib.h>

struct market {
  struct rpc *rpc;
  struct address inference;
  const struct market_ops *ops;
  void *context;
  struct rpc_call *call;
  uint64_t offset, limit;
  uint64_t total; /* 0: not known */
  unsigned skipped;
  struct buf bytes;
  struct service page[CONTRACT_PAGE_MAX];
};

static void ask(struct market *m);

static void end(struct market *m, const char *trouble) {
  m->ops->on_end(m->context, trouble, m->skipped);
}

/* The piece at the offset is of no use: try a smaller one, or leave the one record out. */
static void make_smaller(struct market *m, const char *why) {
  if (m->limit > 1) {
    m->limit /= 2;
    ask(m);
    return;
  }
  m->skipped++;
  m->offset++;
  /* An answer that never comes right ends here. */
  if (m->skipped > CONTRACT_PAGE_MAX || (m->total && m->offset >= m->total)) {
    end(m, m->total && m->offset >= m->total ? NULL : why);
    return;
  }
  m->limit = CONTRACT_PAGE_MAX;
  ask(m);
}

static void on_page(void *user, const struct rpc_outcome *o) {
  struct market *m = user;
  m->call = NULL;
  char why[300];
  if (!o->was_answered || o->answer.end != RPC_RESULT) {
    rpc_why(o, why, sizeof why);
    /* What a node refuses may be too much at once: for its gas, for its answers, or for ours. */
    if (o->was_answered)
      make_smaller(m, why);
    else
      end(m, why);
    return;
  }
  if (!rpc_result_bytes(&m->bytes, o) || m->bytes.len == 0) {
    char text[ADDRESS_TEXT_LEN + 1];
    address_text(text, &m->inference);
    (void)snprintf(why, sizeof why, "there is no contract at %s: set contracts.inference", text);
    end(m, why);
    return;
  }
  size_t n = 0;
  struct u256 total;
  if (contract_read_services(m->page, CONTRACT_PAGE_MAX, &n, &total, buf_span(&m->bytes))) {
    make_smaller(m, "its records cannot be read");
    return;
  }
  for (size_t i = 0; i < n; i++)
    m->ops->on_service(m->context, &m->page[i]);
  m->offset += n;
  m->total = u256_to_u64(total);
  m->limit = CONTRACT_PAGE_MAX;
  if (n == 0 || m->offset >= m->total)
    end(m, NULL);
  else if (m->offset >= MARKET_SERVICES_MAX)
    end(m, "there are more than 10000 services");
  else
    ask(m);
}

static void ask(struct market *m) {
  struct buf calldata;
  buf_init(&calldata, 256);
  int err = contract_get_all_services(&calldata, m->offset, m->limit);
  REQUIRE(!err);
  m->call = rpc_view(m->rpc, &m->inference, buf_span(&calldata), on_page, m);
  buf_release(&calldata);
}

struct market *market_start(struct rpc *rpc, const struct address *inference, const struct market_ops *ops,
                            void *context) {
  struct market *m = x_calloc(1, sizeof *m);
  m->rpc = rpc;
  m->inference = *inference;
  m->ops = ops;
  m->context = context;
  m->limit = CONTRACT_PAGE_MAX;
  buf_init(&m->bytes, RPC_ANSWER_MAX / 2);
  ask(m);
  return m;
}

void market_free(struct market *m) {
  if (!m) return;
  if (m->call) rpc_cancel(m->call);
  buf_release(&m->bytes);
  free(m);
}
