/*
 * api: the table of routes, and who may use them. Turns a connection's events into exchanges.
 *
 * Thread: the worker's.
 */
#ifndef MOONGATE_FLOW_API_H
#define MOONGATE_FLOW_API_H

#include "flow/exchange.h"

/* For conn_server_init(); the server's context must be the struct flow. */
extern const struct conn_ops API_CONN_OPS;

/* Handlers of local routes (flow/admin.c, models.c, metrics.c, verify.c). Each ends with an answer. */
void admin_welcome(struct exchange *x);
void admin_health(struct exchange *x);
void admin_providers(struct exchange *x);
void admin_switch_provider(struct exchange *x);
void admin_reload(struct exchange *x);
void admin_strategy(struct exchange *x);
void models_list(struct exchange *x);
void models_one(struct exchange *x);
void verify_answer(struct exchange *x);
/* Prometheus' text (flow/metrics.c). */
void metrics_page(struct exchange *x);

#endif
