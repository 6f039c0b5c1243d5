/* SPDX-License-Identifier: Apache-2.0
 * Write queues ("lines"): the writes of one configuration run one after the other, in the order in which they
 * began.
 *
 *   - A line exists for each configuration with writes under way. A ticket is a write's place in it.
 *   - A bundle has a ticket in the line of each of its items. It continues when it is first in all of them.
 *   - A write takes all its tickets at once when it begins, so no two writes wait for each other.
 *   - It keeps them until it is answered and this member's view shows it. The next one decides on that state.
 *   - A write that reaches the front continues in the next turn of the loop.
 *   - If the store does not answer a write, all that wait for it go on at once (write_line_release_all).
 *     Otherwise each of them would in turn wait for a missing leader. */
#include "config/config_write.h"

#define TURN_MAX 16 /* writes that go on in one turn */

struct line {
    struct slice key; /* of the head; owned */
    struct link tickets;
};

static bool is_first(const struct write *w)
{
    bool is = true;
    for (size_t i = 0; is && i < w->count; i++) {
        const struct ticket *t = &w->targets[i].ticket;
        is = !t->line || t->line->tickets.next == &t->link;
    }
    return is;
}

static void wake(struct write *w)
{
    struct config *c = w->op.config;
    if (!w->is_blocked || link_is_in_list(&w->ready))
        return;
    list_add_last(&c->ready, &w->ready);
    pending_ops_schedule_turn(&c->pending_ops);
}

static void wake_first(struct line *l)
{
    struct write *w = container_of(l->tickets.next, struct ticket, link)->write;
    if (is_first(w))
        wake(w);
}

static void config_line_leave(struct ticket *t, struct strmap *lines)
{
    struct line *l = t->line;
    list_remove(&t->link);
    t->line = NULL;
    if (!list_is_empty(&l->tickets)) {
        wake_first(l);
        return;
    }
    strmap_remove(lines, l->key);
    mem_free(l->key.data);
    mem_free(l);
}

bool write_line_enter(struct write *w)
{
    struct strmap *lines = &w->op.config->lines;
    for (size_t i = 0; i < w->count; i++) {
        struct target *t = &w->targets[i];
        struct line *l = strmap_get(lines, t->head_key);
        if (!l) {
            l = mem_new(sizeof *l);
            l->key = slice_of(mem_copy(t->head_key.data, t->head_key.size), t->head_key.size);
            list_init(&l->tickets);
            strmap_put(lines, l->key, l);
        }
        t->ticket = (struct ticket){.write = w, .line = l};
        list_add_last(&l->tickets, &t->ticket.link);
    }
    return is_first(w);
}

void write_line_leave(struct write *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->targets[i].ticket.line)
            config_line_leave(&w->targets[i].ticket, &w->op.config->lines);
}

void write_line_release_all(struct write *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct line *l = w->targets[i].ticket.line;
        if (l)
            LIST_FOR_EACH (link, &l->tickets)
                wake(container_of(link, struct ticket, link)->write);
    }
}

/* Continues some of the ready writes. One that is not first was released: it leaves its lines. */
void config_line_turn(struct config *c)
{
    struct link *l;
    for (size_t n = 0; n < TURN_MAX && (l = list_take_first(&c->ready)); n++) {
        struct write *w = container_of(l, struct write, ready);
        w->is_blocked = false;
        if (!is_first(w))
            write_line_leave(w);
        write_step(w);
    }
    if (!list_is_empty(&c->ready))
        pending_ops_schedule_turn(&c->pending_ops);
}
