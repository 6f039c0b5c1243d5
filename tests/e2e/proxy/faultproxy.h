/* SPDX-License-Identifier: Apache-2.0
 * A TCP proxy that injects faults into links on command. As a program (build/.../tools/faultproxy):
 *
 *   faultproxy CONTROL LINK=LISTEN:TARGET ...      CONTROL: a port, or - for standard input
 *   faultproxy 2999 b=23801:23802 c=23811:23812    all on 127.0.0.1
 *
 * Commands, one a line; each is answered by one line, "ok" or "error: ...":
 *
 *   delay     LINKS MS [JITTER_MS] [up|down|both]  bytes come later, in order
 *   bandwidth LINKS BYTES_PER_SECOND [DIRECTION]   of each connection; 0 = no limit
 *   pause     LINKS DIRECTION                      bytes wait, until heal
 *   blackhole LINKS DIRECTION                      bytes are swallowed; heal ends the connections that lost
 * some flip      LINKS PROBABILITY [DIRECTION]        of each piece read that one of its bits turns over; 0
 * .. 1 refuse    LINKS                                new connections are closed at once drop      LINKS
 * connections are closed now reset     LINKS                                ... with RST halfclose LINKS
 * up|down                        that direction ends now, the other goes on heal      LINKS no more faults of
 * any kind status                                         a line for each link, then ok seed      NUMBER of
 * jitter and flips quit
 *
 * DIRECTION: up = from the dialing side to the target, down = back, both (the default).
 * LINKS: a link's name, or * for all; NAME@MEMBER (hexadecimal, as in logs) means only connections whose peer
 * hello says they come from that member: a partition between two members, in one direction or both. Faults of
 * NAME@MEMBER replace those of NAME for its connections. (Under TLS no hello can be seen.) */
#ifndef TESTS_E2E_PROXY_FAULTPROXY_H
#define TESTS_E2E_PROXY_FAULTPROXY_H

#include <uv.h>

#include "base/buf.h"

struct proxy;

struct proxy *proxy_new(uv_loop_t *loop);
/* 127.0.0.1:listen -> 127.0.0.1:target; false: the port is taken. */
bool proxy_add(struct proxy *p, const char *name, int listen_port, int target_port);
/* One line without its end; appends the answer. False = quit. */
bool proxy_command(struct proxy *p, const char *line, struct buf *answer);
void proxy_free(struct proxy *p); /* run the loop until it is empty afterwards */

#endif
