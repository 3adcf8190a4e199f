/*
 * control_private: what control.c (start, signals, stop) and reload.c (plans, generations, benching) share.
 * Private to those two.
 */
#ifndef MOONGATE_DAEMON_CONTROL_PRIVATE_H
#define MOONGATE_DAEMON_CONTROL_PRIVATE_H

#include "daemon/builder.h"
#include "chain/chain.h"
#include "daemon/control.h"
#include "daemon/handover.h"
#include "daemon/session_store.h"
#include "daemon/watch.h"
#include "daemon/worker.h"
#include "flow/probe.h"

/* One reload on its way; others wait in control.waiting. */
struct reload_job {
  struct plan *plan;
  struct reload_ticket *ticket; /* NULL: nobody waits for the answer */
  struct plan *strategy_of; /* counted; set: the strategy comes from there, the rest from the configuration */
  bool is_derived;          /* the same configuration, over what the contract says now */
  char **exports;           /* by worker; NULL entries: nothing was exported */
  unsigned n_left;          /* exports on their way */
  struct builder builder;   /* runs last */
};

/* The program that is to replace this one; pid 0: there is none. */
struct successor {
  pid_t pid;
  int channel;
  uv_poll_t *poll;
  struct wheel_timer timer;
};

struct control {
  struct loop loop;
  struct shared shared;
  struct registry *registry;
  struct session_store *store;   /* NULL: sessions are kept in memory only */
  struct plan *plan;             /* that serves now */
  struct plan *last_good;        /* the one before with another strategy, never benched; NULL: none */
  struct generation *generation; /* control's own, for health */
  struct reload_job *job;
  struct list waiting; /* of struct reload_wish */
  struct upstream *upstream;
  struct chain *chain;
  struct prober prober;
  struct watch watch;
  struct worker *workers;
  unsigned n_workers;
  const struct options *options;
  void (*on_listening)(uint16_t port);
  struct span text;
  struct inherited inherited; /* until sockets are there */
  struct sockets
      sockets; /* worker i has those from i on, n_workers apart; closed by the workers, once started */
  uint16_t port;
  uint32_t peak; /* of active exchanges since the last wave of them */
  unsigned trims_left;
  struct successor successor;
  int parent_channel; /* to who started this program; -1: none listens */
  uv_poll_t *parent_poll;
  uint32_t pings;
  uint64_t watchdog_due_ms;
  uint64_t last_generation, load_until_ms;
  uv_signal_t signals[4];
  struct wheel_timer start_timer, sweep_timer, window_timer;
  struct window *windows; /* by slot of the plan: attempts seen at the last look */
  bool is_probed;         /* the first round of health checks is over, or took too long */
  bool is_serving, is_stopping, is_joining;
  pthread_t joiner, tester;
  int exit_code;
};

/* Another process has taken over: finishes what runs, then ends. */
void control_retire(struct control *c);
/* Bounds of connections by the plan's settings and the limit of open files. */
void control_follow_limits(struct control *c);
/* A plan whose configuration and strategy are fine (the canary included), or NULL with the problems in the report. */
struct plan *reload_load_plan(struct settings_report *report, const struct options *o, struct span text,
                              struct registry *registry);
/*
 * Takes over a plan as the serving one: number, log settings, status. `is_derived`: it is the same configuration, over
 * what the contract says now.
 */
void reload_take_plan(struct control *c, struct plan *plan, bool is_derived);
/* The contract says something else now: the plan is made anew from the same configuration. */
void reload_derive(struct control *c);
/* Before anything serves: the derived plan, or NULL when its strategy does not run over it. */
struct plan *reload_derive_first(struct control *c);
/* The wallet's key that a load has found. */
void reload_take_key(struct control *c, struct settings_report *report);
/* Makes a generation that reports its troubles to control. */
struct generation *reload_new_generation(struct control *c, unsigned worker, const char *previous,
                                         char err[SCRIPT_ERROR_MAX]);
/* Control's own generation (taken over; may be NULL), files to watch, health windows: what follows the serving plan. */
void reload_follow_plan(struct control *c, struct generation *g);
/* Asks for a reload; `ticket` may be NULL. Bursts without tickets are merged. */
void reload_ask(struct control *c, struct reload_ticket *ticket);
/* For shared.ask_reload and shared.return_generation. */
void reload_ask_any_thread(struct shared *s, struct reload_ticket *t);
void reload_return_generation(struct shared *s, struct generation *g);
/* For prober.judge. */
bool reload_judge_probe(struct prober *p, unsigned slot, bool ok, int status, double latency_ms,
                        const char *reason, enum health_event *event);
/* Answers everybody who waits; nothing is started any more. */
void reload_stop(struct control *c);

#endif
