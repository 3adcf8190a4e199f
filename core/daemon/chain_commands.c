#include "daemon/chain_commands.h"

#include "base/clock.h"
#include "base/redact.h"
#include "base/secrecy.h"
#include "chain/market.h"
#include "chain/network.h"
#include "eth/fee.h"
#include "eth/token.h"

#include <stdlib.h>

#define NOBODY "0x0000000000000000000000000000000000000000"

struct session_of_a_command {
  const struct options *options;
  struct plan *plan;
  struct registry *registry;
  struct settings_report report;
  struct loop loop;
  struct upstream *upstream;
  struct rpc *rpc;
  struct network network;
  void (*on_network)(struct session_of_a_command *s);
  int code;
  /* providers */
  struct market *market;
  struct record **found;
  unsigned n_found, n_all;
  /* token */
  struct address provider;
};

/* ---- a node, from the first word to the last ---- */

PRINTF_LIKE(2, 3) static void fail(struct session_of_a_command *s, const char *fmt, ...) {
  struct buf text;
  va_list args;
  buf_init(&text, 4096);
  va_start(args, fmt);
  if (buf_append_va(&text, fmt, args)) buf_clear(&text);
  va_end(args);
  (void)redact_apply(&text);
  (void)redact_digits(&text);
  (void)fprintf(stderr, "moongate: %s\n", buf_cstr(&text));
  buf_release(&text);
  s->code = 1;
  uv_stop(&s->loop.uv);
}

static void end(struct session_of_a_command *s) {
  uv_stop(&s->loop.uv);
}

static void on_chain_id(void *user, const struct rpc_outcome *o) {
  struct session_of_a_command *s = user;
  uint64_t id;
  char trouble[NETWORK_TROUBLE_MAX];
  if (!o->was_answered || o->answer.end != RPC_RESULT || !rpc_result_u64(&id, o->answer.result)) {
    char why[400];
    rpc_why(o, why, sizeof why);
    fail(s, "%s", why);
  } else if (!network_find(&s->network, trouble, id, &s->plan->settings.chain)) {
    fail(s, "%s", trouble);
  } else {
    s->on_network(s);
  }
}

/* The options as a start would see them, but for the providers, which do not matter here. */
static bool load(struct session_of_a_command *s, const char *config, const char *provider) {
  const char *const providers[] = {provider};
  struct settings_overrides o = s->options->overrides;
  o.providers = providers;
  o.n_providers = 1;
  s->plan = settings_load(&s->report, config, SPAN_NONE, &o, s->registry);
  if (!s->plan) (void)fprintf(stderr, "%s", buf_cstr(&s->report.problems));
  const char *trouble = s->plan ? upstream_prepare_tls(s->plan->settings.tls_ca) : NULL;
  if (trouble) (void)fprintf(stderr, "moongate: %s\n", trouble);
  return s->plan && !trouble;
}

static int run(struct session_of_a_command *s, const char *config, const char *provider) {
  log_setup(LOG_ERROR, LOG_TEXT);
  s->registry = registry_new();
  settings_report_init(&s->report);
  s->code = 1;
  bool is_loaded = load(s, config, provider);
  if (redact_knows_any()) secrecy_forbid_core();
  if (s->report.key) secrecy_seal();
  if (is_loaded && !s->plan->settings.chain.nodes[0]) {
    (void)fprintf(stderr,
                  "moongate: no node of the chain is named: --rpc https://evmrpc.0g.ai, or RPC_ENDPOINT\n");
  } else if (is_loaded) {
    int err = loop_init(&s->loop);
    REQUIRE(!err);
    struct upstream_options up = {.ca_file = s->plan->settings.tls_ca, .idle_ms = 10000};
    s->upstream = upstream_new(&s->loop, &up);
    s->rpc = rpc_new(&s->loop, s->upstream, s->plan->settings.chain.nodes);
    s->code = 0;
    (void)rpc_start(s->rpc, "eth_chainId", SPAN("[]"), on_chain_id, s);
    (void)uv_run(&s->loop.uv, UV_RUN_DEFAULT);
    market_free(s->market);
    rpc_free(s->rpc);
    upstream_free(s->upstream);
    loop_close(&s->loop);
  }
  plan_unref(&s->plan);
  settings_report_release(&s->report);
  registry_free(s->registry);
  secrecy_unseal();
  redact_forget_all();
  return s->code;
}

/* ---- providers ---- */

static bool is_wanted(const struct session_of_a_command *s, const struct record *r) {
  const struct market_options *w = &s->options->market;
  struct u256 most;
  struct span type = r->service.service_type;
  if (w->model && !span_eq(r->service.model, span_str(w->model))) return false;
  if (w->type && !span_eq(r->service.service_type, span_str(w->type))) return false;
  if (w->is_verifiable && !record_is_verifiable(r)) return false;
  if (w->max_price_in && u256_parse_0g(&most, span_str(w->max_price_in)) == 0 &&
      u256_cmp(fee_for_people(type, r->service.input_price), most) > 0)
    return false;
  return !w->max_price_out || u256_parse_0g(&most, span_str(w->max_price_out)) ||
         u256_cmp(fee_for_people(type, r->service.output_price), most) <= 0;
}

static void on_service(void *context, const struct service *service) {
  struct session_of_a_command *s = context;
  struct record *r = record_new(service);
  s->n_all++;
  if (!r) return;
  if (!is_wanted(s, r)) {
    record_unref(&r);
    return;
  }
  s->found = x_realloc(s->found, (s->n_found + 1) * sizeof(struct record *));
  s->found[s->n_found++] = r;
}

/* What strangers wrote may not move the cursor. */
static void print_text(struct span text, unsigned width) {
  unsigned n = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    /* Also the control characters of two bytes, U+0080 … U+009F. */
    bool is_wide = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
    i += is_wide;
    (void)putchar(c < 0x20 || c == 0x7f || is_wide ? '?' : c);
    n += (c & 0xc0) != 0x80;
  }
  for (; n < width; n++)
    (void)putchar(' ');
}

#define PRICE_MAX (U256_0G_MAX + sizeof "/image")

static void price_text(char out[PRICE_MAX], const struct service *s, struct u256 each) {
  size_t len = u256_0g_text(out, fee_for_people(s->service_type, each)) - (sizeof " 0G" - 1);
  (void)snprintf(out + len, PRICE_MAX - len, "%s", fee_is_by_image(s->service_type) ? "/image" : "");
}

static void print_table(const struct session_of_a_command *s) {
  printf("%-42s  %-16s  %-14s  %12s  %12s  %s\n", "PROVIDER", "TYPE", "VERIFIABILITY", "IN", "OUT",
         "MODEL, URL");
  for (unsigned i = 0; i < s->n_found; i++) {
    const struct service *v = &s->found[i]->service;
    char in[PRICE_MAX], out[PRICE_MAX];
    price_text(in, v, v->input_price);
    price_text(out, v, v->output_price);
    if (fee_is_by_image(v->service_type)) (void)snprintf(out, sizeof out, "-");
    printf("%s  ", s->found[i]->id);
    print_text(v->service_type, 16);
    printf("  ");
    struct span proof = v->verifiability.len ? v->verifiability : SPAN("none");
    print_text(v->tee_signer_acknowledged ? proof : SPAN("unacknowledged"), 14);
    printf("  %12s  %12s  ", in, out);
    print_text(v->model, 0);
    printf("\n%44s", "");
    print_text(v->url, 0);
    printf("\n");
  }
  printf("%u of %u services on chain %llu; prices in 0G for a million tokens, or for an image\n", s->n_found,
         s->n_all, (unsigned long long)s->network.chain_id);
}

static void put_member(struct json_writer *w, const char *key, struct span text) {
  json_key(w, key);
  json_string(w, text);
}

static void print_json(const struct session_of_a_command *s) {
  struct buf b;
  struct json_writer w;
  buf_init(&b, (size_t)1 << 30);
  json_begin(&w, &b);
  json_open(&w, '[');
  for (unsigned i = 0; i < s->n_found; i++) {
    const struct service *v = &s->found[i]->service;
    char number[U256_TEXT_MAX], signer[ADDRESS_TEXT_LEN + 1];
    json_open(&w, '{');
    put_member(&w, "address", span_str(s->found[i]->id));
    put_member(&w, "serviceType", v->service_type);
    put_member(&w, "model", v->model);
    put_member(&w, "url", v->url);
    put_member(&w, "verifiability", v->verifiability);
    json_key(&w, "verifiable");
    json_bool(&w, record_is_verifiable(s->found[i]));
    address_text(signer, &v->tee_signer);
    put_member(&w, "signer", span_str(signer));
    json_key(&w, "signerAcknowledged");
    json_bool(&w, v->tee_signer_acknowledged);
    put_member(&w, "inputPrice", span_make(number, u256_text(number, v->input_price)));
    put_member(&w, "outputPrice", span_make(number, u256_text(number, v->output_price)));
    json_key(&w, "updatedAt");
    json_int(&w, (int64_t)u256_to_u64(v->updated_at));
    json_close(&w, '}');
  }
  json_close(&w, ']');
  printf("%s\n", buf_cstr(&b));
  buf_release(&b);
}

static void on_market_end(void *context, const char *trouble, unsigned skipped) {
  struct session_of_a_command *s = context;
  if (trouble) {
    fail(s, "not all services could be read: %s", trouble);
    return;
  }
  if (skipped)
    (void)fprintf(stderr, "moongate: %u records of the contract cannot be read and are left out\n", skipped);
  if (s->options->market.is_json)
    print_json(s);
  else
    print_table(s);
  end(s);
}

static void read_market(struct session_of_a_command *s) {
  static const struct market_ops OPS = {.on_service = on_service, .on_end = on_market_end};
  s->market = market_start(s->rpc, &s->network.inference, &OPS, s);
}

int chain_providers_main(const struct options *o) {
  struct session_of_a_command s = {.options = o, .on_network = read_market};
  int code = run(&s, o->config, NOBODY);
  for (unsigned i = 0; i < s.n_found; i++)
    record_unref(&s.found[i]);
  free(s.found);
  return code;
}

/* ---- token ---- */

static void print_token(struct session_of_a_command *s, uint64_t generation) {
  struct token t;
  struct token_wish wish = {
      .provider = span_str(s->options->token.provider),
      .mode = TOKEN_EPHEMERAL,
      .duration_ms = (int64_t)(s->options->token.duration_s * 1000),
      .now_ms = (int64_t)clock_wall_ms(),
      .generation = generation,
  };
  enum token_fault fault = token_make(&t, &wish, s->report.key);
  if (fault) {
    fail(s, "no token can be made: %s", token_fault_text(fault));
    return;
  }
  printf("%s\n", t.text + strlen("Bearer "));
  (void)fflush(stdout);
  token_wipe(&t);
  end(s);
}

static void on_account(void *user, const struct rpc_outcome *o) {
  struct session_of_a_command *s = user;
  struct buf bytes;
  struct account a;
  if (rpc_is_revert(o, REVERT_ACCOUNT_NOT_EXISTS)) {
    (void)fprintf(
        stderr,
        "moongate: this wallet has no sub-account with that provider, which will refuse the token until it "
        "has: `0g-compute-cli transfer-fund --service inference --provider %s --amount 2`, or autoFunding\n",
        s->options->token.provider);
    print_token(s, 0);
    return;
  }
  buf_init(&bytes, RPC_ANSWER_MAX / 2);
  bool is_read = rpc_result_bytes(&bytes, o) && contract_read_account(&a, buf_span(&bytes)) == 0;
  uint64_t generation = is_read ? u256_to_u64(a.generation) : 0;
  bool is_missing = o->was_answered && o->answer.end == RPC_RESULT && bytes.len == 0;
  buf_release(&bytes);
  if (is_read) {
    print_token(s, generation);
    return;
  }
  char why[400];
  rpc_why(o, why, sizeof why);
  fail(s, "the sub-account cannot be read: %s",
       is_missing ? "there is no contract at that address of this chain" : why);
}

static void read_account(struct session_of_a_command *s) {
  struct buf calldata;
  buf_init(&calldata, 256);
  int err = contract_get_account(&calldata, key_address(s->report.key), &s->provider);
  REQUIRE(!err);
  (void)rpc_view(s->rpc, &s->network.inference, buf_span(&calldata), on_account, s);
  buf_release(&calldata);
}

static void need_key(struct session_of_a_command *s) {
  if (s->report.key)
    read_account(s);
  else
    fail(s, "there is no wallet: set the environment variable ZG_PRIVATE_KEY, or keyFile in --config FILE");
}

int chain_token_main(const struct options *o) {
  struct session_of_a_command s = {.options = o, .on_network = need_key};
  if (!provider_id_address(&s.provider, span_str(o->token.provider))) {
    /* Perhaps it is a key. */
    (void)fprintf(stderr, "moongate: \"%.10s%s\" is no address (0x and 40 hex digits)\n", o->token.provider,
                  strlen(o->token.provider) > 10 ? "..." : "");
    return 2;
  }
  return run(&s, o->config, o->token.provider);
}
