/* SPDX-License-Identifier: Apache-2.0
 * Notification of systemd: one datagram to $NOTIFY_SOCKET. */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

/* Sends "READY=1" or "STOPPING=1". Does nothing without $NOTIFY_SOCKET. Errors are ignored, as callers of
 * libsystemd do. */
void notify_systemd(const char *state);

#endif
