/*
 * canary: tries a strategy before it serves anybody: loads it, calls init, and runs every callback that it defines over
 * canned inputs: few and many candidates, all failing, values at the edges of what the engine can measure.
 *
 * Thread: control's, or a command's; takes at most CANARY_MAX_MS of its processor time.
 */
#ifndef MOONGATE_SCRIPT_CANARY_H
#define MOONGATE_SCRIPT_CANARY_H

#include "base/buf.h"
#include "model/plan.h"

#define CANARY_MAX_MS       2000
#define CANARY_FINDINGS_MAX 32
/* Room that a report may need. */
#define CANARY_REPORT_MAX ((size_t)CANARY_FINDINGS_MAX * 640)

/*
 * Findings, each once, one per line, "file:line: callback: what (input)". Returns their number: 0 means that the
 * strategy may serve. `previous`: as for generation_new().
 */
unsigned canary_run(struct plan *plan, const char *previous, struct buf *report);

#endif
