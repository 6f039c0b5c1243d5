/* SPDX-License-Identifier: Apache-2.0
 * The search of Wing, Gong and Lowe. The history is a list of calls and returns in the order of time. The
 * search takes the first call that the model accepts, lifts its call and return out of the list and starts
 * over; at a return it has waited too long with that operation: the latest one taken goes back to its place
 * and the next call is tried. */
#include "tests/check/wgl.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

struct entry {
    struct entry *next, *prev;
    struct entry *match; /* of a call: its return, NULL if there is none; of a return: its call */
    const struct wgl_op *op;
    size_t number; /* of the operation within its part */
    int64_t time;
    bool is_return;
};

/* A visited state of the search: a set of operations done and the state after them. Slots hold offsets
 * into `records`, 0 is free; a record is the state and the set's words. */
struct seen {
    uint64_t *records;
    size_t count, capacity, words;
    uint32_t *slots;
    size_t slot_count;
};

struct taken {
    struct entry *call;
    uint64_t state; /* before it */
};

struct search {
    const struct wgl_model *model;
    struct entry head;
    struct entry *entries;
    size_t count;   /* operations */
    size_t returns; /* left in the list */
    uint64_t *done; /* the set */
    uint64_t done_hash;
    struct seen seen;
    struct taken *stack;
    size_t depth, depth_max;
    const struct wgl_op *stuck;
};

static void entry_unlink(struct entry *e)
{
    e->prev->next = e->next;
    if (e->next)
        e->next->prev = e->prev;
}

static void entry_relink(struct entry *e)
{
    e->prev->next = e;
    if (e->next)
        e->next->prev = e;
}

static void search_lift(struct search *s, struct entry *call)
{
    entry_unlink(call);
    if (call->match) {
        entry_unlink(call->match);
        s->returns--;
    }
}

static void search_unlift(struct search *s, struct entry *call)
{
    if (call->match) {
        entry_relink(call->match);
        s->returns++;
    }
    entry_relink(call);
}

static void search_flip(struct search *s, size_t number)
{
    s->done[number / 64] ^= UINT64_C(1) << number % 64;
    s->done_hash ^= hash64_u64(number + 1);
}

static const uint64_t *seen_record(const struct seen *c, uint32_t slot)
{
    return c->records + (size_t)(slot - 1) * (c->words + 1);
}

static uint64_t seen_hash(uint64_t done_hash, uint64_t state)
{
    return hash64_u64(state ^ done_hash);
}

static void seen_grow(struct search *s)
{
    struct seen *c = &s->seen;
    size_t slot_count = c->slot_count ? c->slot_count * 2 : 1024;
    uint32_t *slots = mem_new(slot_count * sizeof *slots);
    for (uint32_t i = 1; i <= c->count; i++) {
        const uint64_t *r = seen_record(c, i);
        uint64_t done_hash = 0;
        for (size_t w = 0; w < c->words; w++)
            for (uint64_t bits = r[1 + w]; bits; bits &= bits - 1)
                done_hash ^= hash64_u64(w * 64 + (size_t)__builtin_ctzll(bits) + 1);
        size_t at = seen_hash(done_hash, r[0]) & (slot_count - 1);
        while (slots[at])
            at = (at + 1) & (slot_count - 1);
        slots[at] = i;
    }
    mem_free(c->slots);
    c->slots = slots;
    c->slot_count = slot_count;
}

/* True when the state with the current set is new. */
static bool seen_add(struct search *s, uint64_t state)
{
    struct seen *c = &s->seen;
    if (c->count * 2 >= c->slot_count)
        seen_grow(s);
    size_t at = seen_hash(s->done_hash, state) & (c->slot_count - 1);
    for (; c->slots[at]; at = (at + 1) & (c->slot_count - 1)) {
        const uint64_t *r = seen_record(c, c->slots[at]);
        if (r[0] == state && memcmp(r + 1, s->done, c->words * sizeof *s->done) == 0)
            return false;
    }
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 256;
        c->records = mem_resize(c->records, c->capacity * (c->words + 1) * sizeof *c->records);
    }
    c->slots[at] = (uint32_t)++c->count;
    uint64_t *r = c->records + (c->count - 1) * (c->words + 1);
    r[0] = state;
    memcpy(r + 1, s->done, c->words * sizeof *s->done);
    return true;
}

static size_t search_memory(const struct search *s)
{
    return s->seen.capacity * (s->seen.words + 1) * sizeof(uint64_t) +
           s->seen.slot_count * sizeof *s->seen.slots +
           s->count * (2 * sizeof(struct entry) + sizeof(struct taken));
}

/* Calls before returns of the same time: they overlap. */
static int entry_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    if (x->is_return != y->is_return)
        return x->is_return ? 1 : -1;
    return (x->number > y->number) - (x->number < y->number);
}

static void search_init(struct search *s, const struct wgl_model *m, const struct wgl_op *const *ops,
                        size_t count)
{
    *s = (struct search){.model = m, .count = count};
    s->entries = mem_new(2 * count * sizeof *s->entries);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        s->entries[n++] = (struct entry){.op = ops[i], .number = i, .time = ops[i]->call};
        if (ops[i]->ret != WGL_NEVER)
            s->entries[n++] =
                (struct entry){.op = ops[i], .number = i, .time = ops[i]->ret, .is_return = true};
    }
    qsort(s->entries, n, sizeof *s->entries, entry_compare);
    struct entry **calls = mem_new(count * sizeof(struct entry *));
    struct entry *last = &s->head;
    for (size_t i = 0; i < n; i++) {
        struct entry *e = &s->entries[i];
        e->prev = last;
        last->next = e;
        last = e;
        if (!e->is_return) {
            calls[e->number] = e;
        } else {
            e->match = calls[e->number];
            e->match->match = e;
            s->returns++;
        }
    }
    mem_free(calls);
    s->seen.words = (count + 63) / 64;
    s->done = mem_new(s->seen.words * sizeof *s->done);
    s->stack = mem_new(count * sizeof *s->stack);
}

static void search_done(struct search *s)
{
    mem_free(s->entries);
    mem_free(s->seen.records);
    mem_free(s->seen.slots);
    mem_free(s->done);
    mem_free(s->stack);
}

static enum wgl_verdict search_run(struct search *s, struct wgl_limits limits, uint64_t *steps)
{
    uint64_t state = s->model->initial;
    struct entry *at = s->head.next;
    /* Only returns force progress; operations of unknown outcome may remain. */
    while (s->returns > 0) {
        if (++*steps > limits.steps_max || search_memory(s) > limits.memory_max)
            return WGL_GAVE_UP;
        if (!at->is_return) {
            uint64_t next;
            if (s->model->step(s->model->arg, state, at->op, &next)) {
                search_flip(s, at->number);
                if (seen_add(s, next)) {
                    s->stack[s->depth++] = (struct taken){at, state};
                    state = next;
                    search_lift(s, at);
                    at = s->head.next;
                    continue;
                }
                search_flip(s, at->number);
            }
            at = at->next;
            continue;
        }
        if (s->depth >= s->depth_max) {
            s->depth_max = s->depth;
            s->stuck = at->op;
        }
        if (s->depth == 0)
            return WGL_ILLEGAL;
        struct taken t = s->stack[--s->depth];
        state = t.state;
        search_flip(s, t.call->number);
        search_unlift(s, t.call);
        at = t.call->next;
    }
    return WGL_LINEARIZABLE;
}

struct part {
    uint64_t key;
    const struct wgl_op *op;
};

static int part_compare(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->op > y->op) - (x->op < y->op);
}

struct wgl_result wgl_check(const struct wgl_model *m, const struct wgl_op *ops, size_t count,
                            struct wgl_limits limits)
{
    if (!limits.steps_max)
        limits.steps_max = 100 * 1000 * 1000;
    if (!limits.memory_max)
        limits.memory_max = (size_t)512 << 20;
    struct part *parts = mem_new(count * sizeof *parts);
    const struct wgl_op **list = mem_new(count * sizeof(struct wgl_op *));
    for (size_t i = 0; i < count; i++)
        parts[i] = (struct part){m->part ? m->part(&ops[i]) : 0, &ops[i]};
    qsort(parts, count, sizeof *parts, part_compare);
    for (size_t i = 0; i < count; i++)
        list[i] = parts[i].op;

    struct wgl_result r = {.verdict = WGL_LINEARIZABLE};
    for (size_t from = 0, to; from < count && r.verdict != WGL_ILLEGAL; from = to) {
        for (to = from; to < count && parts[to].key == parts[from].key; to++)
            ;
        struct search s;
        search_init(&s, m, list + from, to - from);
        enum wgl_verdict v = search_run(&s, limits, &r.steps);
        if (v != WGL_LINEARIZABLE)
            r.verdict = v;
        if (v == WGL_ILLEGAL)
            r.stuck = s.stuck;
        if (search_memory(&s) > r.memory)
            r.memory = search_memory(&s);
        r.parts++;
        search_done(&s);
    }
    mem_free(list);
    mem_free(parts);
    return r;
}
