/* Which contracts serve on which chain: the table of the protocol notes, section a. */
#include "chain/network.h"
#include "check.h"

static const char *ledger_of(uint64_t chain_id, bool is_dev, const char **name) {
  static char text[ADDRESS_TEXT_LEN + 1];
  char trouble[NETWORK_TROUBLE_MAX];
  struct network n;
  struct chain_settings s = {.is_dev = is_dev};
  if (!network_find(&n, trouble, chain_id, &s)) {
    CHECK(strstr(trouble, "set contracts = { ledger") != NULL);
    return "none";
  }
  CHECK(trouble[0] == '\0' && !address_is_zero(&n.inference) && !address_eq(&n.inference, &n.ledger));
  *name = n.name;
  address_text(text, &n.ledger);
  return text;
}

#define CHECK_LEDGER(id, is_dev, expected, called)                                                           \
  do {                                                                                                       \
    const char *name = "", *got = ledger_of(id, is_dev, &name);                                              \
    CHECK_STR(got, strlen(got), expected);                                                                   \
    CHECK_STR(name, strlen(name), called);                                                                   \
  } while (0)

static void each_chain_has_its_own(void) {
  CHECK_LEDGER(16661, false, "0x2dE54c845Cd948B72D2e32e39586fe89607074E3", "mainnet");
  CHECK_LEDGER(16602, false, "0xE70830508dAc0A97e6c087c75f402f9Be669E406", "testnet");
  CHECK_LEDGER(31337, false, "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0", "local");
}

static void only_the_testnet_has_others_for_development(void) {
  CHECK_LEDGER(16602, true, "0x815B93ab4Ba4BDF530dbF1552649a3c534F8BbF7", "testnet (dev)");
  CHECK_LEDGER(16661, true, "0x2dE54c845Cd948B72D2e32e39586fe89607074E3", "mainnet");
}

static void an_unknown_chain_needs_both_addresses(void) {
  CHECK_LEDGER(1, false, "none", "");
  char trouble[NETWORK_TROUBLE_MAX], text[ADDRESS_TEXT_LEN + 1];
  struct network n;
  struct chain_settings s = {.has_ledger = true};
  CHECK(address_parse(&s.ledger, SPAN("0x1234567890123456789012345678901234567890")) == 0);
  s.inference = s.ledger;
  CHECK(!network_find(&n, trouble, 4242, &s));
  CHECK(strstr(trouble, "chain id 4242 is not known") != NULL);
  s.has_inference = true;
  CHECK(network_find(&n, trouble, 4242, &s) && n.name == NULL);
  /* And wins over the table. */
  CHECK(network_find(&n, trouble, 16661, &s));
  address_text(text, &n.ledger);
  CHECK_STR(text, strlen(text), "0x1234567890123456789012345678901234567890");
}

int main(void) {
  RUN(each_chain_has_its_own);
  RUN(only_the_testnet_has_others_for_development);
  RUN(an_unknown_chain_needs_both_addresses);
  return CHECK_END();
}
