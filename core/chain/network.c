#include "chain/network.h"

#include <stdio.h>

static const struct {
  uint64_t chain_id;
  bool is_dev;
  const char *name, *ledger, *inference;
} NETWORKS[] = {
    {16661, false, "mainnet", "0x2dE54c845Cd948B72D2e32e39586fe89607074E3",
     "0x47340d900bdFec2BD393c626E12ea0656F938d84"},
    {16602, false, "testnet", "0xE70830508dAc0A97e6c087c75f402f9Be669E406",
     "0xa79F4c8311FF93C06b8CfB403690cc987c93F91E"},
    {16602, true, "testnet (dev)", "0x815B93ab4Ba4BDF530dbF1552649a3c534F8BbF7",
     "0x41bD7Ac5c19000A974D5c192bcd5FB67b56C85c5"},
    {31337, false, "local", "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0",
     "0x0165878A594ca255338adfa4d48449f69242Eb8F"},
};

bool network_find(struct network *out, char trouble[NETWORK_TROUBLE_MAX], uint64_t chain_id,
                  const struct chain_settings *settings) {
  *out = (struct network){.chain_id = chain_id};
  for (size_t i = 0; i < ARRAY_LEN(NETWORKS); i++) {
    if (NETWORKS[i].chain_id != chain_id || (NETWORKS[i].is_dev && !settings->is_dev)) continue;
    out->name = NETWORKS[i].name;
    int err = address_parse(&out->ledger, span_str(NETWORKS[i].ledger));
    if (!err) err = address_parse(&out->inference, span_str(NETWORKS[i].inference));
    REQUIRE(!err);
  }
  if (settings->has_ledger) out->ledger = settings->ledger;
  if (settings->has_inference) out->inference = settings->inference;
  trouble[0] = '\0';
  if (!address_is_zero(&out->ledger) && !address_is_zero(&out->inference)) return true;
  (void)snprintf(trouble, NETWORK_TROUBLE_MAX,
                 "chain id %llu is not known: set contracts = { ledger = \"0x…\", inference = \"0x…\" }, or "
                 "rpc to a node "
                 "of 0G (mainnet 16661, testnet 16602)",
                 (unsigned long long)chain_id);
  return false;
}
