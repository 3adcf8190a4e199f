/* main: parses the command line and hands over to the command. */
#include "base/secrecy.h"
#include "daemon/chain_commands.h"
#include "daemon/control.h"
#include "daemon/demo.h"
#include "daemon/handover.h"
#include "sim/sim_provider.h"
#include "sim/simulate.h"
#include "daemon/supervise.h"
#include "daemon/verify_command.h"
#include "net/upstream.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

static int run_command(const struct options *o) {
  switch (o->command) {
  case COMMAND_RUN: return control_run(o, SPAN_NONE, NULL);
  case COMMAND_DEMO: return demo_main(o);
  case COMMAND_CHECK: return control_check(o);
  case COMMAND_STRATEGY_CHECK: return control_check_strategy(o->file);
  case COMMAND_STRATEGY_SIMULATE: return simulate_main(&o->simulate);
  case COMMAND_VERIFY: return verify_main(&o->verify);
  case COMMAND_SIM_PROVIDER: return sim_main(&o->sim);
  case COMMAND_PROVIDERS: return chain_providers_main(o);
  case COMMAND_TOKEN: return chain_token_main(o);
  default: return 2;
  }
}

/* One that is closed would be the number of a client's connection, which would be sent what is meant for the log. */
static void open_standard_streams(void) {
  int fd;
  do
    fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) (void)close(fd);
}

int main(int argc, char **argv) {
  static struct options o;
  open_standard_streams();
  secrecy_hide_environment();
  /* Fixed thresholds: large request bodies are mapped, grow without copies, and go back to the system when freed. */
  (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
  (void)mallopt(M_TRIM_THRESHOLD, 512 * 1024);
  switch (options_parse(&o, argc, argv)) {
  case OPTIONS_DONE: return 0;
  case OPTIONS_WRONG: return 2;
  default: break;
  }
  if (o.command == COMMAND_RUN && o.supervise && !handover_is_supervised()) return supervise_main(argv);
  int code = run_command(&o);
  upstream_global_release();
  return code;
}
