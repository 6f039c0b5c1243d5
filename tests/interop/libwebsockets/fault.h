/* SPDX-License-Identifier: Apache-2.0
 * A libwebsockets server in a child process and a raw client beside it: shared code of the programs of this
 * folder. Each program shows one fault of libwebsockets' own HTTP or WebSocket role and prints one line:
 * "fault: still there in libwebsockets X.Y.Z: what was seen", or "mended in X.Y.Z: what was seen".
 *
 * The server is a child because some faults end it or keep it busy for ever. It listens on the loopback
 * address, on a port below 32768, and dies with its parent. */
#ifndef TESTS_INTEROP_LIBWEBSOCKETS_FAULT_H
#define TESTS_INTEROP_LIBWEBSOCKETS_FAULT_H

#include <libwebsockets.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Written by the child's callbacks, read by the parent. */
struct fault_counts {
    volatile unsigned begun;     /* requests or WebSockets */
    volatile unsigned completed; /* LWS_CALLBACK_HTTP_BODY_COMPLETION */
    volatile unsigned received;  /* bytes of bodies or messages */
    char text[512];              /* the first of them */
};
extern struct fault_counts *fault_counts;

struct fault_server {
    pid_t pid;
    int port;
};

/* protocols: as libwebsockets wants them, the first one serves HTTP. set_up may be NULL. Exits on errors. */
struct fault_server fault_server_start(const struct lws_protocols *protocols,
                                       void (*set_up)(struct lws_context_creation_info *info));
/* With a child of the caller's own making: run listens on the port and does not return. */
struct fault_server fault_server_run(void (*run)(int port));
/* Ends the child. True when it had ended by itself before: ret_signal is then the signal, or 0. */
bool fault_server_stop(struct fault_server *s, int *ret_signal);
bool fault_server_is_up(const struct fault_server *s);
double fault_server_cpu_s(const struct fault_server *s); /* seconds of CPU that the child has used */

int fault_connect(const struct fault_server *s);
void fault_send(int fd, const void *data, size_t size);
void fault_send_text(int fd, const char *text);
/* Until the server closes, or nothing comes for wait_ms. Returns the bytes, NUL-ended in `room`. */
size_t fault_receive(int fd, char *room, size_t size, int wait_ms, bool *ret_is_closed);
/* The same, and not beyond `end`; NULL: one read. */
size_t fault_receive_until(int fd, char *room, size_t size, const char *end, int wait_ms,
                           bool *ret_is_closed);
void fault_sleep_ms(int ms);

/* In a callback: keeps bytes that a client sent. */
void fault_keep(const void *data, size_t size);
/* In a callback: a whole answer; 0, or what the callback is to return. */
int fault_answer(struct lws *wsi, const char *text);

/* Prints the line and returns the program's status: 0. */
int fault_verdict(bool is_there, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A WebSocket's opening handshake, for fault_send_text; %s: more header lines, each with CRLF. */
#define FAULT_UPGRADE                                                                                        \
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                     \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

#endif
