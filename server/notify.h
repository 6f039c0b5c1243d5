/* SPDX-License-Identifier: Apache-2.0
 * systemd's readiness protocol: one datagram to $NOTIFY_SOCKET. */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

/* "READY=1", "STOPPING=1". Nothing happens without the variable; errors are ignored, as by libsystemd's
 * users. */
void notify_systemd(const char *state);

#endif
