/* SPDX-License-Identifier: Apache-2.0
 * The fault proxy as a program; its command line and commands are in faultproxy.h. It ends with its control:
 * at quit, or at the end of standard input. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/e2e/proxy/faultproxy.h"

enum { LINE_MAX_ = 1024 };

struct control {
    struct proxy *proxy;
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    char line[LINE_MAX_];
    size_t size;
    bool is_stdin;
};

static uv_loop_t loop;
static struct proxy *proxy;

static void on_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    static char bytes[LINE_MAX_];
    (void)h;
    (void)suggested;
    *b = uv_buf_init(bytes, sizeof bytes);
}

static void answer_line(struct control *c)
{
    struct buf answer = {0};
    c->line[c->size] = 0;
    c->size = 0;
    bool goes_on = proxy_command(c->proxy, c->line, &answer);
    if (c->is_stdin) {
        fwrite(answer.data, answer.size, 1, stdout);
        fflush(stdout);
    } else {
        uv_buf_t b = uv_buf_init((char *)answer.data, (unsigned)answer.size);
        (void)uv_try_write(&c->stream, &b, 1);
    }
    buf_done(&answer);
    if (!goes_on)
        uv_stop(&loop);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct control *c = s->data;
    for (ssize_t i = 0; i < n; i++)
        if (b->base[i] == '\n')
            answer_line(c);
        else if (c->size < sizeof c->line - 1)
            c->line[c->size++] = b->base[i];
    if (n >= 0)
        return;
    if (c->is_stdin)
        uv_stop(&loop);
    uv_close((uv_handle_t *)s, on_closed);
}

static struct control *control_new(bool is_stdin)
{
    struct control *c = mem_new(sizeof *c);
    c->proxy = proxy;
    c->is_stdin = is_stdin;
    if (is_stdin)
        uv_pipe_init(&loop, &c->pipe, 0);
    else
        uv_tcp_init(&loop, &c->tcp);
    c->stream.data = c;
    return c;
}

static void on_control(uv_stream_t *server, int status)
{
    struct control *c = control_new(false);
    if (status == 0 && uv_accept(server, &c->stream) == 0)
        uv_read_start(&c->stream, on_alloc, on_read);
    else
        uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static bool open_control(const char *where)
{
    struct sockaddr_in a;
    struct control *c = control_new(strcmp(where, "-") == 0);
    if (c->is_stdin)
        return uv_pipe_open(&c->pipe, 0) == 0 && uv_read_start(&c->stream, on_alloc, on_read) == 0;
    uv_ip4_addr("127.0.0.1", atoi(where), &a);
    return uv_tcp_bind(&c->tcp, (struct sockaddr *)&a, 0) == 0 && uv_listen(&c->stream, 8, on_control) == 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: faultproxy CONTROL_PORT|- LINK=LISTEN:TARGET ...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* the receiver may have closed its connection */
    uv_loop_init(&loop);
    proxy = proxy_new(&loop);
    for (int i = 2; i < argc; i++) {
        char name[32];
        int from, to;
        if (sscanf(argv[i], "%31[^=]=%d:%d", name, &from, &to) != 3 || !proxy_add(proxy, name, from, to)) {
            fprintf(stderr, "faultproxy: cannot listen for %s\n", argv[i]);
            return 1;
        }
    }
    if (!open_control(argv[1])) {
        fprintf(stderr, "faultproxy: cannot take commands on %s\n", argv[1]);
        return 1;
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
