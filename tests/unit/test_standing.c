/* Each state of a provider on chain, and that its reason names what mends it, to the last letter. */
#include "chain/standing.h"
#include "check.h"

#define ID     "0x1234567890123456789012345678901234567890"
#define WALLET "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

static struct registry *registry;
static struct provider *provider;
static struct service service;
static struct record *record;
static struct plan_entry entry;

static struct u256 og(uint64_t n) {
  struct u256 out;
  CHECK(!u256_mul(&out, u256_of(1000000000000000000u), u256_of(n)));
  return out;
}

/* A provider that lacks nothing. */
static struct standing_facts all_is_well(void) {
  service = (struct service){.service_type = SPAN("chatbot"),
                             .url = SPAN("http://p.example"),
                             .verifiability = SPAN("TeeML"),
                             .tee_signer_acknowledged = true};
  entry = (struct plan_entry){.provider = provider,
                              .service = &service,
                              .record = record,
                              .has_endpoint = true,
                              .is_endpoint_of_record = true};
  return (struct standing_facts){.entry = &entry,
                                 .has_nodes = true,
                                 .is_connected = true,
                                 .contract = "0xa79F4c8311FF93C06b8CfB403690cc987c93F91E",
                                 .service = READING_THERE,
                                 .wallet = WALLET,
                                 .account = READING_THERE,
                                 .is_acknowledged = true,
                                 .locked = og(2),
                                 .per_provider = og(2)};
}

/* The reason ends with `end` and is not cut. */
static void says(const struct standing_facts *f, enum standing standing, const char *start, const char *end) {
  char why[PROVIDER_REASON_MAX], from[PROVIDER_REASON_MAX];
  CHECK_INT(standing_judge(why, f), standing);
  (void)snprintf(from, sizeof from, "Failed to initialize provider %s: %s", provider->id, start);
  size_t len = strlen(why), n = strlen(end);
  CHECK(len < sizeof why - 1);
  CHECK_STR(why, len < strlen(from) ? len : strlen(from), from);
  CHECK_STR(why + (len > n ? len - n : 0), len > n ? n : len, end);
}

static void one_that_lacks_nothing_is_ready(void) {
  char why[PROVIDER_REASON_MAX];
  struct standing_facts f = all_is_well();
  CHECK_INT(standing_judge(why, &f), STANDING_READY);
  CHECK_STR(why, strlen(why), "");
}

static void what_is_not_known_says_where_it_comes_from(void) {
  struct standing_facts f = all_is_well();
  f.service = READING_MISSING;
  says(&f, STANDING_NO_SERVICE,
       "the contract 0xa79F4c8311FF93C06b8CfB403690cc987c93F91E has no service of that address",
       "`moongate providers` lists those that it has");
  f = all_is_well();
  entry = (struct plan_entry){.provider = provider};
  f.service = READING_NOT;
  says(&f, STANDING_WAITING, "its service is being read", "from the chain");
  f.trouble = "no node answers";
  says(&f, STANDING_NO_SERVICE, "no node answers", "answers");
  f.is_connected = false;
  says(&f, STANDING_NO_NODE, "no node answers", "answers");
  f.network_trouble = "chain 5 is not known: set contracts";
  says(&f, STANDING_NO_NETWORK, "chain 5", "set contracts");
  f.has_nodes = false;
  says(&f, STANDING_NO_NODE, "no node of the chain is configured", "set rpc = \"https://evmrpc.0g.ai\"");
}

static void a_service_that_cannot_be_used_says_what_to_allow(void) {
  struct standing_facts f = all_is_well();
  entry.is_private_url = true;
  says(&f, STANDING_NO_SERVICE, "its url in the contract leads into a private network (\"http://p.example\")",
       "set allowPrivateProviders = true if that is meant");
  f = all_is_well();
  entry.has_endpoint = entry.is_endpoint_of_record = false;
  service.url = SPAN("ftp://p.example");
  says(&f, STANDING_NO_SERVICE, "its url in the contract cannot be used", ": \"ftp://p.example\"");
  f = all_is_well();
  service.verifiability = SPAN("");
  says(&f, STANDING_UNVERIFIABLE, "its answers cannot be verified",
       "set unverified = true beside its address to use it all the same");
  entry.takes_unverified = true;
  char why[PROVIDER_REASON_MAX];
  CHECK_INT(standing_judge(why, &f), STANDING_READY);
  f = all_is_well();
  service.tee_signer_acknowledged = false;
  says(&f, STANDING_UNACKNOWLEDGED_SIGNER, "its signer has not been acknowledged by the contract's owner",
       "or take another one (`moongate providers --verifiable`)");
}

static void a_wallet_that_is_not_ready_says_which_command_or_option(void) {
  struct standing_facts f = all_is_well();
  f.wallet = NULL;
  says(&f, STANDING_NO_WALLET, "there is no wallet: set the environment variable ZG_PRIVATE_KEY",
       "or keyFile, or its apiKey");
  entry.api_key = (char *)(uintptr_t) "key";
  char why[PROVIDER_REASON_MAX];
  CHECK_INT(standing_judge(why, &f), STANDING_READY);
  f = all_is_well();
  f.account = READING_NOT;
  says(&f, STANDING_WAITING, "its sub-account is being read", "from the chain");
  f.trouble = "no node answers";
  says(&f, STANDING_NO_NODE, "no node answers", "answers");
  f = all_is_well();
  f.account = READING_MISSING;
  says(&f, STANDING_UNFUNDED,
       "wallet " WALLET
       " has no sub-account with it: set autoFunding = { ledgerMin = 3, perProvider = 2, max = 10 }",
       "or run `0g-compute-cli transfer-fund --service inference --provider " ID
       " --amount 2` (for a new wallet, before that, `0g-compute-cli add-account --amount 5`)");
  f = all_is_well();
  f.owed = f.locked;
  says(&f, STANDING_UNFUNDED, "wallet " WALLET " has nothing left in its sub-account: set autoFunding = {",
       "`0g-compute-cli add-account --amount 5`)");
  f = all_is_well();
  f.is_acknowledged = false;
  says(&f, STANDING_UNACKNOWLEDGED, "wallet " WALLET " has not acknowledged its signer: run ",
       "`0g-compute-cli inference acknowledge-provider --provider " ID "`, or set autoFunding");
}

static void funding_says_what_it_waits_for(void) {
  struct standing_facts f = all_is_well();
  f.is_funding = true;
  f.account = READING_MISSING;
  says(&f, STANDING_UNFUNDED, "its sub-account is not there", "and is being funded");
  char funding[256];
  memset(funding, 'x', sizeof funding);
  funding[sizeof funding - 1] = '\0';
  f.funding = funding;
  says(&f, STANDING_UNFUNDED, "its sub-account is not there and autoFunding does not help: xxx", "xxx");
  f = all_is_well();
  f.is_funding = true;
  f.locked = og(4);
  f.owed = og(7);
  says(&f, STANDING_UNFUNDED, "by its word 7 0G are owed to it, of 4 0G in its sub-account",
       "raise that, or take another provider");
}

int main(void) {
  registry = registry_new();
  provider = registry_get(registry, ID, PROVIDER_ONCHAIN, 0);
  struct service any = {.service_type = SPAN("chatbot")};
  record = record_new(&any);
  RUN(one_that_lacks_nothing_is_ready);
  RUN(what_is_not_known_says_where_it_comes_from);
  RUN(a_service_that_cannot_be_used_says_what_to_allow);
  RUN(a_wallet_that_is_not_ready_says_which_command_or_option);
  RUN(funding_says_what_it_waits_for);
  entry = (struct plan_entry){0};
  record_unref(&record);
  provider_unref(&provider);
  registry_free(registry);
  return CHECK_END();
}
