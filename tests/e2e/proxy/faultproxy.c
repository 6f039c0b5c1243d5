/* SPDX-License-Identifier: Apache-2.0
 * A TCP proxy that injects faults; see faultproxy.h. Each connection is two pipes; a pipe holds back pieces
 * of bytes until their time has come and stops reading when it holds many, so that the sender's own queue
 * fills as on a slow link. */
#include "tests/e2e/proxy/faultproxy.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/mem.h"

enum { UP, DOWN, DIRECTIONS };
enum { HELD_MAX = 1 << 20, PIECE_MAX = 64 << 10, NAME_MAX_ = 32, PEEK_SIZE = 44, WORDS_MAX = 6 };

struct faults {
    uint64_t delay_ms[DIRECTIONS], jitter_ms[DIRECTIONS], bandwidth[DIRECTIONS];
    bool pause[DIRECTIONS], blackhole[DIRECTIONS];
    double flip[DIRECTIONS];
    bool refuse;
};

struct rule { /* faults of one sender's connections */
    struct link link;
    uint64_t member;
    struct faults faults;
};

struct plink {
    struct link link;
    struct proxy *p;
    char name[NAME_MAX_];
    int listen_port, target_port;
    uv_tcp_t listener;
    struct faults faults;
    struct link rules, connections;
    uint64_t bytes[DIRECTIONS], connection_count;
};

struct proxy {
    uv_loop_t *loop;
    struct link links;
    uint64_t random;
};

struct piece {
    struct link link;
    uint64_t due_ms;
    uv_write_t write;
    size_t size; /* 0: the end of this direction */
    uint8_t data[];
};

struct pipe {
    struct connection *c;
    int direction;
    uv_tcp_t *from, *to;
    struct link pieces;
    size_t held;
    uint64_t last_due_ms;
    uv_timer_t timer;
    uv_shutdown_t shutdown;
    bool is_reading, has_ended, has_lost;
};

struct connection {
    struct link link;
    struct plink *l;
    uv_tcp_t client, server;
    uv_connect_t connect;
    struct pipe pipes[DIRECTIONS];
    uint8_t peek[PEEK_SIZE]; /* the first bytes up */
    size_t peeked;
    uint64_t member; /* 0 = not known */
    unsigned open_handles;
    bool is_connected, is_closing;
};

static uint64_t roll(struct proxy *p, uint64_t below)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return below ? p->random % below : 0;
}

static const struct faults *faults_of(const struct connection *c)
{
    LIST_FOR_EACH (i, &c->l->rules) {
        const struct rule *r = container_of(i, struct rule, link);
        if (c->member && r->member == c->member)
            return &r->faults;
    }
    return &c->l->faults;
}

/* --- the end of a connection --------------------------------------------------------------------------- */
static void on_handle_closed(uv_handle_t *h)
{
    struct connection *c = h->data;
    if (--c->open_handles)
        return;
    for (int d = 0; d < DIRECTIONS; d++) {
        struct link *i;
        while ((i = list_take_first(&c->pipes[d].pieces)))
            mem_free(container_of(i, struct piece, link));
    }
    mem_free(c);
}

static void end(struct connection *c, bool reset)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&c->client, (uv_handle_t *)&c->server,
                              (uv_handle_t *)&c->pipes[UP].timer, (uv_handle_t *)&c->pipes[DOWN].timer};
    if (c->is_closing)
        return;
    c->is_closing = true;
    list_remove(&c->link);
    c->l->connection_count--;
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
        handles[i]->data = c;
        if (!reset || i >= 2 || uv_tcp_close_reset((uv_tcp_t *)(void *)handles[i], on_handle_closed) != 0)
            uv_close(handles[i], on_handle_closed);
    }
}

/* --- a pipe -------------------------------------------------------------------------------------------- */
static void release(struct pipe *p);

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    static char bytes[PIECE_MAX];
    (void)h;
    (void)suggested;
    *b = uv_buf_init(bytes, sizeof bytes);
}

static void hold(struct pipe *p, struct slice bytes)
{
    struct proxy *proxy = p->c->l->p;
    const struct faults *f = faults_of(p->c);
    int d = p->direction;
    struct piece *piece = mem_alloc(sizeof *piece + bytes.size);
    *piece = (struct piece){.size = bytes.size};
    if (bytes.size)
        memcpy(piece->data, bytes.data, bytes.size);
    if (bytes.size && f->flip[d] > 0 && (double)roll(proxy, 1000000) < f->flip[d] * 1e6) {
        uint64_t bit = roll(proxy, 8);
        piece->data[roll(proxy, bytes.size)] ^= (uint8_t)(1u << bit);
    }
    uint64_t due = uv_now(proxy->loop) + f->delay_ms[d] + roll(proxy, f->jitter_ms[d] + 1);
    piece->due_ms = due > p->last_due_ms ? due : p->last_due_ms;
    if (f->bandwidth[d])
        piece->due_ms += bytes.size * 1000 / f->bandwidth[d];
    p->last_due_ms = piece->due_ms;
    p->held += bytes.size;
    list_add_last(&p->pieces, &piece->link);
}

/* The hello of a peer: 12 bytes of frame header, magic, and at byte 24 of the payload who dials. */
static void peek(struct connection *c, struct slice bytes)
{
    static const uint8_t magic[] = {0, 'C', 'A', 'I', 'R', 'N', '\r', '\n'};
    size_t n = PEEK_SIZE - c->peeked < bytes.size ? PEEK_SIZE - c->peeked : bytes.size;
    if (!n)
        return;
    memcpy(c->peek + c->peeked, bytes.data, n);
    c->peeked += n;
    if (c->peeked == PEEK_SIZE && memcmp(c->peek + 12, magic, sizeof magic) == 0)
        c->member = get_le64(c->peek + 36);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct pipe *p = s->data;
    struct connection *c = p->c;
    if (n == 0 || c->is_closing)
        return;
    if (n < 0 && n != UV_EOF) {
        end(c, true);
        return;
    }
    struct slice bytes = slice_of(b->base, n > 0 ? (size_t)n : 0);
    if (p->direction == UP)
        peek(c, bytes);
    if (faults_of(c)->refuse) {
        end(c, false);
        return;
    }
    c->l->bytes[p->direction] += bytes.size;
    if (n == UV_EOF) {
        uv_read_stop(s);
        p->is_reading = false;
        p->has_ended = true;
    }
    if (faults_of(c)->blackhole[p->direction]) {
        p->has_lost = true;
        return;
    }
    hold(p, bytes);
    release(p);
}

static void steer(struct pipe *p)
{
    bool want = p->c->is_connected && !p->has_ended &&
                p->held + uv_stream_get_write_queue_size((uv_stream_t *)p->to) < HELD_MAX;
    if (want && !p->is_reading)
        p->is_reading = uv_read_start((uv_stream_t *)p->from, on_alloc, on_read) == 0;
    else if (!want && p->is_reading) {
        uv_read_stop((uv_stream_t *)p->from);
        p->is_reading = false;
    }
}

static void on_written(uv_write_t *w, int status)
{
    struct pipe *p = w->data;
    mem_free(container_of(w, struct piece, write));
    if (p->c->is_closing)
        return;
    if (status < 0)
        end(p->c, true);
    else
        steer(p);
}

static void on_shut(uv_shutdown_t *s, int status)
{
    struct pipe *p = s->data, *other = &p->c->pipes[!p->direction];
    (void)status;
    if (!p->c->is_closing && other->has_ended && list_is_empty(&other->pieces))
        end(p->c, false);
}

static void pass_on(struct pipe *p, struct piece *piece)
{
    p->held -= piece->size;
    if (piece->size == 0) {
        mem_free(piece);
        if (!p->shutdown.data) {
            p->shutdown.data = p;
            if (uv_shutdown(&p->shutdown, (uv_stream_t *)p->to, on_shut) != 0)
                end(p->c, true);
        }
        return;
    }
    uv_buf_t b = uv_buf_init((char *)piece->data, (unsigned)piece->size);
    piece->write.data = p;
    if (uv_write(&piece->write, (uv_stream_t *)p->to, &b, 1, on_written) != 0) {
        mem_free(piece);
        end(p->c, true);
    }
}

static void on_timer(uv_timer_t *t)
{
    release(t->data);
}

/* Forwards the due pieces; then sets the next timer, and whether to read. */
static void release(struct pipe *p)
{
    struct connection *c = p->c;
    uint64_t now = uv_now(c->l->p->loop);
    while (!c->is_closing && !faults_of(c)->pause[p->direction] && !list_is_empty(&p->pieces)) {
        struct piece *piece = container_of(p->pieces.next, struct piece, link);
        if (piece->due_ms > now) {
            uv_timer_start(&p->timer, on_timer, piece->due_ms - now, 0);
            break;
        }
        list_remove(&piece->link);
        pass_on(p, piece);
    }
    if (!c->is_closing)
        steer(p);
}

/* --- connections --------------------------------------------------------------------------------------- */
static void on_connected(uv_connect_t *req, int status)
{
    struct connection *c = req->data;
    if (c->is_closing)
        return;
    if (status < 0) {
        end(c, true);
        return;
    }
    c->is_connected = true;
    uv_tcp_nodelay(&c->client, 1);
    uv_tcp_nodelay(&c->server, 1);
    steer(&c->pipes[UP]);
    steer(&c->pipes[DOWN]);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct plink *l = s->data;
    struct sockaddr_in target;
    if (status < 0)
        return;
    struct connection *c = mem_new(sizeof *c);
    c->l = l;
    uv_tcp_init(l->p->loop, &c->client);
    uv_tcp_init(l->p->loop, &c->server);
    c->open_handles = 4;
    for (int d = 0; d < DIRECTIONS; d++) {
        struct pipe *p = &c->pipes[d];
        p->c = c;
        p->direction = d;
        p->from = d == UP ? &c->client : &c->server;
        p->to = d == UP ? &c->server : &c->client;
        p->from->data = p;
        list_init(&p->pieces);
        uv_timer_init(l->p->loop, &p->timer);
        p->timer.data = p;
    }
    list_add_last(&l->connections, &c->link);
    l->connection_count++;
    c->connect.data = c;
    uv_ip4_addr("127.0.0.1", l->target_port, &target);
    if (uv_accept(s, (uv_stream_t *)&c->client) != 0 || l->faults.refuse ||
        uv_tcp_connect(&c->connect, &c->server, (struct sockaddr *)&target, on_connected) != 0)
        end(c, false);
}

/* --- commands ------------------------------------------------------------------------------------------ */
struct selection {
    struct plink *l;
    struct faults *faults;
    uint64_t member; /* 0 = all */
};

static bool is_meant(const struct selection *s, const struct connection *c)
{
    return s->member == 0 || s->member == c->member;
}

static struct faults *faults_for(struct plink *l, uint64_t member)
{
    if (!member)
        return &l->faults;
    LIST_FOR_EACH (i, &l->rules) {
        struct rule *r = container_of(i, struct rule, link);
        if (r->member == member)
            return &r->faults;
    }
    struct rule *r = mem_new(sizeof *r);
    r->member = member;
    r->faults = l->faults;
    list_add_last(&l->rules, &r->link);
    return &r->faults;
}

static void heal(struct selection *s)
{
    LIST_FOR_EACH_SAFE (i, &s->l->rules) {
        struct rule *r = container_of(i, struct rule, link);
        if (s->member == 0 || r->member == s->member) {
            list_remove(&r->link);
            mem_free(r);
        }
    }
    if (!s->member)
        s->l->faults = (struct faults){0};
    LIST_FOR_EACH_SAFE (i, &s->l->connections) {
        struct connection *c = container_of(i, struct connection, link);
        if (is_meant(s, c) && (c->pipes[UP].has_lost || c->pipes[DOWN].has_lost)) {
            end(c, true);
            continue;
        }
        for (int d = 0; d < DIRECTIONS && !c->is_closing; d++)
            release(&c->pipes[d]);
    }
}

static void half_close(struct pipe *p)
{
    if (p->has_ended)
        return;
    uv_read_stop((uv_stream_t *)p->from);
    p->is_reading = false;
    p->has_ended = true;
    hold(p, (struct slice){0});
    release(p);
}

static void status(struct proxy *p, struct buf *out)
{
    LIST_FOR_EACH (i, &p->links) {
        struct plink *l = container_of(i, struct plink, link);
        buf_addf(out, "%s %d -> %d connections %" PRIu64 " up %" PRIu64 " down %" PRIu64, l->name,
                 l->listen_port, l->target_port, l->connection_count, l->bytes[UP], l->bytes[DOWN]);
        LIST_FOR_EACH (k, &l->connections)
            buf_addf(out, " %" PRIx64, container_of(k, struct connection, link)->member);
        buf_add_byte(out, '\n');
    }
}

struct words {
    char text[256];
    char *word[WORDS_MAX];
    int count;
    bool is_on[DIRECTIONS]; /* the direction, which is the last word if any */
};

static bool take_direction(struct words *w)
{
    const char *last = w->count > 2 ? w->word[w->count - 1] : "";
    bool is_up = strcmp(last, "up") == 0, is_down = strcmp(last, "down") == 0;
    bool is_both = strcmp(last, "both") == 0;
    w->is_on[UP] = !is_down;
    w->is_on[DOWN] = !is_up;
    if (is_up || is_down || is_both)
        w->count--;
    return is_up || is_down || is_both;
}

/* Sets the faults of a command for each direction that it names. */
static bool set_faults(struct words *w, bool has_direction, struct faults *f)
{
    const char *verb = w->word[0];
    for (int d = 0; d < DIRECTIONS; d++) {
        if (!w->is_on[d])
            continue;
        if (strcmp(verb, "delay") == 0 && w->count >= 3) {
            f->delay_ms[d] = strtoull(w->word[2], NULL, 10);
            f->jitter_ms[d] = w->count > 3 ? strtoull(w->word[3], NULL, 10) : 0;
        } else if (strcmp(verb, "bandwidth") == 0 && w->count == 3) {
            f->bandwidth[d] = strtoull(w->word[2], NULL, 10);
        } else if (strcmp(verb, "flip") == 0 && w->count == 3) {
            f->flip[d] = strtod(w->word[2], NULL);
        } else if (strcmp(verb, "pause") == 0 && has_direction && w->count == 2) {
            f->pause[d] = true;
        } else if (strcmp(verb, "blackhole") == 0 && has_direction && w->count == 2) {
            f->blackhole[d] = true;
        } else {
            return false;
        }
    }
    return true;
}

static void act(const char *verb, const struct words *w, const struct selection *s)
{
    LIST_FOR_EACH_SAFE (i, &s->l->connections) {
        struct connection *c = container_of(i, struct connection, link);
        if (!is_meant(s, c))
            continue;
        if (strcmp(verb, "halfclose") == 0)
            half_close(&c->pipes[w->is_on[UP] ? UP : DOWN]);
        else
            end(c, strcmp(verb, "reset") == 0);
    }
}

static bool apply(struct words *w, bool has_direction, struct selection *s)
{
    const char *verb = w->word[0];
    if (strcmp(verb, "heal") == 0 && w->count == 2) {
        heal(s);
    } else if (strcmp(verb, "refuse") == 0 && w->count == 2) {
        faults_for(s->l, s->member)->refuse = true;
    } else if ((strcmp(verb, "drop") == 0 || strcmp(verb, "reset") == 0) && w->count == 2) {
        act(verb, w, s);
    } else if (strcmp(verb, "halfclose") == 0 && has_direction && w->is_on[UP] != w->is_on[DOWN]) {
        act(verb, w, s);
    } else {
        struct faults f = *faults_for(s->l, s->member);
        if (!set_faults(w, has_direction, &f))
            return false;
        *faults_for(s->l, s->member) = f;
    }
    return true;
}

/* NAME, NAME@MEMBER or *. */
static bool apply_to_links(struct proxy *p, struct words *w, struct buf *answer)
{
    bool has_direction = take_direction(w), is_found = false, is_good = true;
    char *at = strchr(w->word[1], '@');
    uint64_t member = at ? strtoull(at + 1, NULL, 16) : 0;
    if (at)
        *at = 0;
    LIST_FOR_EACH (i, &p->links) {
        struct plink *l = container_of(i, struct plink, link);
        if (strcmp(w->word[1], "*") != 0 && strcmp(w->word[1], l->name) != 0)
            continue;
        is_found = true;
        struct selection s = {.l = l, .member = member};
        is_good = is_good && apply(w, has_direction, &s);
    }
    buf_add_text(answer, !is_found ? "error: no such link\n" : !is_good ? "error: not understood\n" : "ok\n");
    return true;
}

bool proxy_command(struct proxy *p, const char *line, struct buf *answer)
{
    struct words w = {0};
    snprintf(w.text, sizeof w.text, "%s", line);
    char *rest = w.text;
    for (char *word; w.count < WORDS_MAX && (word = strsep(&rest, " \t\r")) != NULL;)
        if (*word)
            w.word[w.count++] = word;
    if (w.count == 1 && strcmp(w.word[0], "quit") == 0) {
        buf_add_text(answer, "ok\n");
        return false;
    }
    if (w.count == 1 && strcmp(w.word[0], "status") == 0) {
        status(p, answer);
        buf_add_text(answer, "ok\n");
    } else if (w.count == 2 && strcmp(w.word[0], "seed") == 0) {
        p->random = strtoull(w.word[1], NULL, 10) | 1;
        buf_add_text(answer, "ok\n");
    } else if (w.count < 2) {
        buf_add_text(answer, "error: not understood\n");
    } else {
        return apply_to_links(p, &w, answer);
    }
    return true;
}

/* --- birth and end ------------------------------------------------------------------------------------- */
struct proxy *proxy_new(uv_loop_t *loop)
{
    struct proxy *p = mem_new(sizeof *p);
    p->loop = loop;
    p->random = 88172645463325252;
    list_init(&p->links);
    return p;
}

bool proxy_add(struct proxy *p, const char *name, int listen_port, int target_port)
{
    struct sockaddr_in a;
    struct plink *l = mem_new(sizeof *l);
    l->p = p;
    snprintf(l->name, sizeof l->name, "%s", name);
    l->listen_port = listen_port;
    l->target_port = target_port;
    list_init(&l->rules);
    list_init(&l->connections);
    uv_tcp_init(p->loop, &l->listener);
    l->listener.data = l;
    list_add_last(&p->links, &l->link);
    uv_ip4_addr("127.0.0.1", listen_port, &a);
    return uv_tcp_bind(&l->listener, (struct sockaddr *)&a, 0) == 0 &&
           uv_listen((uv_stream_t *)&l->listener, 128, on_connection) == 0;
}

static void on_link_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

/* A connection that is closing looks at its link no more, so the link may be freed first. */
void proxy_free(struct proxy *p)
{
    struct link *i;
    while ((i = list_take_first(&p->links))) {
        struct plink *l = container_of(i, struct plink, link);
        struct selection all = {.l = l};
        heal(&all);
        while (!list_is_empty(&l->connections))
            end(container_of(l->connections.next, struct connection, link), false);
        uv_close((uv_handle_t *)&l->listener, on_link_closed);
    }
    mem_free(p);
}
