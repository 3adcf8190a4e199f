/*
 * chain_status: what /health and /admin/providers tell about the chain and the wallet's money. Written by control in one
 * piece, read by whoever answers; amounts are texts with their unit.
 *
 * Thread: copied under the lock of its owner.
 */
#ifndef MOONGATE_MODEL_CHAIN_STATUS_H
#define MOONGATE_MODEL_CHAIN_STATUS_H

#include "eth/address.h"
#include "eth/u256.h"

struct chain_status {
  bool is_on;               /* a node is configured */
  uint64_t chain_id;        /* 0: not known yet */
  char network[16];         /* "mainnet", "testnet", "local"; empty when it has no name */
  char trouble[400];        /* why the chain cannot be read; empty: it can */
  uint64_t read_wall_ms;    /* when something was read last; 0: never */
  uint64_t calls, failures; /* requests sent to nodes; those that failed */
  char ledger[ADDRESS_TEXT_LEN + 1], inference[ADDRESS_TEXT_LEN + 1];
  char wallet[ADDRESS_TEXT_LEN + 1]; /* empty: there is none */
  unsigned n_services;               /* of the contract, when all were read last; 0: they were not */

  bool is_funding;
  char max[U256_0G_MAX], moved[U256_0G_MAX], deposits[U256_0G_MAX], transfers[U256_0G_MAX], fees[U256_0G_MAX];
  char available[U256_0G_MAX]; /* in the wallet's ledger; empty: not read, or there is none */
  unsigned n_transactions;
  char last_transaction[67]; /* hash of the last one that was sent */
  char blocked[400];         /* why funding cannot do what it should */
};

#endif
