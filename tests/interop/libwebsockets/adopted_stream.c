/* SPDX-License-Identifier: Apache-2.0
 * Experiment: libwebsockets' WebSocket role carries a stream whose opening handshake another parser has read
 * and checked. The socket is adopted (lws_adopt_socket_vhost_readbuf) with a head written anew, of the five
 * fields that the role needs, so that its limits for heads and subprotocols do not matter.
 *
 * That works. Four things are then missing, and the program measures each:
 *   1. RFC 6455, 5.1: frames that are not masked are refused (unmasked_frame.c).
 *   2. The bytes that a client has not read can be counted: lws_write queues what the socket does not take,
 *      without limit, and no function says how much that is.
 *   3. A message for many is compressed once: each connection compresses it for itself.
 *   4. A connection under TLS can be adopted after its head was read: no function takes an SSL object. The
 *      program does not measure this one, the API has nothing to call. */
#include "tests/interop/libwebsockets/fault.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    POLL_US = 2000,
    CONNECTIONS = 500,
    MESSAGE_SIZE = 2000,
    FLOOD_SIZE = 64 << 20, /* written to a client that reads nothing */
    FLOOD_PIECE = 64 * 1024,
};

static const char REWRITTEN_HEAD[] =
    FAULT_UPGRADE "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n";

static struct {
    int listener;
    struct lws_context *context;
    struct lws_vhost *vhost;
    lws_sorted_usec_list_t poll;
} child;

/* The child's resident memory in KiB. */
static unsigned resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (unsigned)(pages * sysconf(_SC_PAGESIZE) / 1024);
}

static void write_message(struct lws *wsi, size_t size, uint8_t fill)
{
    static uint8_t room[LWS_PRE + FLOOD_PIECE];
    uint8_t *message = room + LWS_PRE;
    for (size_t i = 0; i < size; i++) /* letters, half of them repeated: like JSON it shrinks to a part */
        message[i] = i % 2 ? fill : (uint8_t)('a' + (i * i >> 3) % 26);
    lws_write(wsi, message, size, LWS_WRITE_TEXT);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    if (reason == LWS_CALLBACK_ESTABLISHED)
        fault_counts->begun++;
    if (reason == LWS_CALLBACK_SERVER_WRITEABLE)
        write_message(wsi, MESSAGE_SIZE, 'x');
    if (reason == LWS_CALLBACK_RECEIVE) {
        fault_keep(in, size);
        if (size == 5 && memcmp(in, "flood", 5) == 0) {
            for (size_t n = 0; n < FLOOD_SIZE; n += FLOOD_PIECE)
                write_message(wsi, FLOOD_PIECE, 'x');
            fault_counts->completed = resident_kib();
        } else if (size == 4 && memcmp(in, "send", 4) == 0) {
            lws_callback_on_writable_all_protocol_vhost(lws_get_vhost(wsi), lws_get_protocol(wsi));
        }
    }
    return lws_callback_http_dummy(wsi, reason, user, in, size);
}

/* Accepts, drops the client's head, and hands the socket over with another one. */
static void on_poll(lws_sorted_usec_list_t *poll)
{
    char head[4096];
    int fd;
    while ((fd = accept(child.listener, NULL, NULL)) >= 0) {
        if (recv(fd, head, sizeof head, 0) > 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            lws_adopt_socket_vhost_readbuf(child.vhost, fd, REWRITTEN_HEAD, sizeof REWRITTEN_HEAD - 1);
        } else {
            close(fd);
        }
    }
    lws_sul_schedule(child.context, 0, poll, on_poll, POLL_US);
}

static void run(int port)
{
    static const struct lws_protocols protocols[] = {{.name = "stream", .callback = on_event}, {0}};
    static const struct lws_extension extensions[] = {
        {"permessage-deflate", lws_extension_callback_pm_deflate, "permessage-deflate"}, {0}};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .extensions = getenv("WITHOUT_DEFLATE") ? NULL : extensions,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .fd_limit_per_thread = CONNECTIONS + 100,
    };
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    child.context = lws_create_context(&info);
    child.vhost = child.context ? lws_create_vhost(child.context, &info) : NULL;
    child.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (!child.vhost || bind(child.listener, (struct sockaddr *)&at, sizeof at) ||
        listen(child.listener, 512))
        return;
    lws_sul_schedule(child.context, 0, &child.poll, on_poll, POLL_US);
    while (lws_service(child.context, 0) >= 0) {
    }
}

/* A WebSocket whose head is longer than the role would take. */
static int open_stream(const struct fault_server *s, bool *ret_is_open)
{
    char token[301] = {0}, request[800], answer[4096];
    bool is_closed;
    int fd = fault_connect(s);
    memset(token, 'a', sizeof token - 1);
    snprintf(request, sizeof request, FAULT_UPGRADE "Sec-WebSocket-Protocol: Bearer, %s\r\n\r\n", token);
    fault_send_text(fd, request);
    fault_receive_until(fd, answer, sizeof answer, "\r\n\r\n", 2000, &is_closed);
    *ret_is_open = strncmp(answer, "HTTP/1.1 101", 12) == 0;
    return fd;
}

static void wait_for(volatile unsigned *count, unsigned wanted)
{
    for (int i = 0; i < 500 && *count < wanted; i++)
        fault_sleep_ms(10);
}

/* Milliseconds of the server's CPU for one message to all. */
static double send_to_many(const struct fault_server *s)
{
    static int fds[CONNECTIONS];
    bool is_open, is_closed;
    char message[4096];
    for (int i = 0; i < CONNECTIONS; i++)
        fds[i] = open_stream(s, &is_open);
    double before_s = fault_server_cpu_s(s);
    fault_send(fds[0], "\x81\x84\0\0\0\0send", 10);
    for (int i = 0; i < CONNECTIONS; i++)
        fault_receive_until(fds[i], message, sizeof message, NULL, 2000, &is_closed);
    double cpu_s = fault_server_cpu_s(s) - before_s;
    for (int i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    return cpu_s * 1e3;
}

int main(void)
{
    struct fault_server s = fault_server_run(run);
    bool is_open, is_closed;
    char text[4096];
    int signal, fd = open_stream(&s, &is_open);
    fault_send(fd, "\x81\x05hello", 7);
    fault_receive(fd, text, sizeof text, 300, &is_closed);
    bool takes_unmasked = fault_counts->received == 5;
    close(fd);
    double with_ms = send_to_many(&s);
    fault_server_stop(&s, &signal);

    setenv("WITHOUT_DEFLATE", "1", 1);
    s = fault_server_run(run);
    double without_ms = send_to_many(&s);
    fd = open_stream(&s, &is_open);
    fault_send(fd, "\x81\x85\0\0\0\0flood", 11);
    wait_for(&fault_counts->completed, 1);
    unsigned held_kib = fault_counts->completed;
    fault_server_stop(&s, &signal);
    if (!is_open) {
        printf("libwebsockets %s does not take an adopted stream at all\n", lws_get_library_version());
        return 2;
    }
    bool is_unbounded = held_kib / 1024 > FLOOD_SIZE / 4 >> 20, is_repeated = with_ms > 3 * without_ms;
    return fault_verdict(
        takes_unmasked || is_unbounded || is_repeated,
        "adopted; unmasked frames %s; %u of %d MiB queued for a client that does not read; a message "
        "to %d: %.0f ms compressed, %.0f ms plain",
        takes_unmasked ? "taken" : "refused", held_kib / 1024, FLOOD_SIZE >> 20, CONNECTIONS, with_ms,
        without_ms);
}
