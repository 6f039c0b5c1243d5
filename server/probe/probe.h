/* SPDX-License-Identifier: Apache-2.0
 * Runs health checks on the loop: TCP connect, HTTP and HTTPS GET. Loop thread only.
 *
 * A host name is resolved once a run, and the resolved address is the one that is checked against the
 * rules (registry/check_address.h) and connected to: a name that changes its address in between gains
 * nothing. No proxy, no redirect, no credentials; of an answer only its status is shown. */
#ifndef SERVER_PROBE_PROBE_H
#define SERVER_PROBE_PROBE_H

#include "registry/check_address.h"
#include "registry/check_prober.h"

struct uv_loop_s;
struct prober;

/* allowed: networks that check_networks_parse accepts. */
struct prober *prober_new(struct uv_loop_s *loop, struct slice allowed);
struct check_prober *prober_interface(struct prober *p);
/* After all probes have ended or were canceled. The loop must run on until it is empty. NULL is allowed. */
void prober_free(struct prober *p);

#endif
