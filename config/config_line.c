/* SPDX-License-Identifier: Apache-2.0
 * Lines: the writes of one configuration are made one after the other, in the order in which they began. A
 * line exists for each configuration with writes under way. A bundle stands in the lines of all its items,
 * and goes on when it is the first in each. A write keeps its places until it is answered, when this member's
 * view shows it: so the next one is decided on what it left.
 *
 * All places are taken at once, when a write begins, so no two writes wait for each other. A write whose turn
 * has come goes on in the next turn of the loop. A write that the store did not answer disperses its lines:
 * otherwise each write behind it would in turn wait for a leader that is not there. */
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

void write_line_disperse(struct write *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct line *l = w->targets[i].ticket.line;
        if (l)
            LIST_FOR_EACH (link, &l->tickets)
                wake(container_of(link, struct ticket, link)->write);
    }
}

/* A write that was dispersed leaves its lines: it waits for nobody, and nobody for it. Some a turn. */
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
