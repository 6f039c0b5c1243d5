/* SPDX-License-Identifier: Apache-2.0
 * Accounts of the output budget, by size (a heap) and by the time of their last progress (a list). Each
 * change costs O(log n). Only connections with unsent bytes are in either. */
#include "base/net/output.h"

#include <assert.h>

enum {
    SECOND_MS = 1000,
    FAST_BYTES = 1 << 20, /* bytes a second: a client that takes these counts as reading */
    SPARED_TIMES = 4,     /* times bytes_max: the most that spared connections may hold */
    CHECK_MS = 20,        /* between checks that find no connection to close */
    CHECKED_MAX = 1000,   /* accounts in one check */
    CLOSED_MAX = 64,      /* connections closed in one turn */
};

/* Never below 0: callers read the clock at different moments of a turn. */
static uint64_t elapsed(uint64_t now_ms, uint64_t since_ms)
{
    return now_ms > since_ms ? now_ms - since_ms : 0;
}

void output_budget_init(struct output_budget *b, uint64_t bytes_max, uint64_t stall_ms)
{
    *b = (struct output_budget){.bytes_max = bytes_max, .stall_ms = stall_ms};
    list_init(&b->oldest);
}

void output_budget_done(struct output_budget *b)
{
    heap_done(&b->largest);
}

const char *output_reason_text(enum output_reason why)
{
    return why == OUTPUT_STALLED ? "the client reads nothing" : "too many bytes wait for slow clients";
}

void output_open(struct output_account *a, struct output_budget *b,
                 void (*close)(struct output_account *a, enum output_reason why))
{
    *a = (struct output_account){.budget = b, .close = close};
}

void output_forget(struct output_account *a)
{
    if (!a->budget)
        return;
    a->budget->bytes -= a->bytes;
    if (a->is_exempt)
        a->budget->exempt_bytes -= a->bytes;
    a->bytes = 0;
    heap_remove(&a->budget->largest, &a->node);
    list_remove(&a->link);
}

void output_exempt(struct output_account *a)
{
    if (!a->budget || a->is_exempt)
        return;
    a->is_exempt = true;
    a->budget->exempt_bytes += a->bytes;
    heap_remove(&a->budget->largest, &a->node);
    list_remove(&a->link);
}

static void add_account(struct output_account *a, uint64_t bytes, uint64_t now_ms)
{
    a->since_ms = a->took_ms = a->second_ms = now_ms;
    a->second_bytes = a->last_second = 0;
    list_add_last(&a->budget->oldest, &a->link);
    heap_add(&a->budget->largest, &a->node, UINT64_MAX - bytes);
}

void output_change(struct output_account *a, uint64_t bytes, uint64_t now_ms)
{
    struct output_budget *b = a->budget;
    if (bytes == 0) {
        output_forget(a);
        return;
    }
    if (a->is_exempt)
        b->exempt_bytes += bytes - a->bytes;
    else if (a->bytes == 0)
        add_account(a, bytes, now_ms);
    else
        heap_move(&b->largest, &a->node, UINT64_MAX - bytes);
    b->bytes += bytes - a->bytes;
    a->bytes = bytes;
}

void output_took(struct output_account *a, uint64_t bytes, uint64_t now_ms)
{
    if (!a->budget || a->bytes == 0 || bytes == 0 || a->is_exempt)
        return;
    if (elapsed(now_ms, a->second_ms) >= SECOND_MS) {
        a->last_second = elapsed(now_ms, a->second_ms) < 2 * SECOND_MS ? a->second_bytes : 0;
        a->second_ms = now_ms;
        a->second_bytes = 0;
    }
    a->second_bytes += bytes;
    a->took_ms = now_ms;
    list_remove(&a->link);
    list_add_last(&a->budget->oldest, &a->link);
}

/* --- selection of the connection to close -------------------------------------------------------------- */
static bool is_spared(const struct output_account *a, uint64_t now_ms)
{
    uint64_t last = elapsed(now_ms, a->second_ms) < 2 * SECOND_MS ? a->last_second : 0;
    return elapsed(now_ms, a->since_ms) < SECOND_MS || last >= FAST_BYTES ||
           (a->second_bytes >= FAST_BYTES && elapsed(now_ms, a->second_ms) < 2 * SECOND_MS);
}

static struct output_account *output_first_of(const struct heap *h)
{
    struct heap_node *n = heap_first(h);
    return n ? container_of(n, struct output_account, node) : NULL;
}

static uint64_t client_bytes(const struct output_budget *b)
{
    return b->bytes - b->exempt_bytes;
}

/* The bytes of members' streams reduce the clients' share, but at most by half. A stalled follower must not
 * disconnect every slow client. */
static uint64_t client_bytes_max(const struct output_budget *b)
{
    uint64_t half = b->bytes_max / 2;
    return b->bytes_max - (b->exempt_bytes < half ? b->exempt_bytes : half);
}

/* Returns the largest account that is not spared, or NULL. Spared accounts leave the heap during the
 * search. */
static struct output_account *output_choose(struct output_budget *b, uint64_t now_ms)
{
    struct output_account *spared[CHECKED_MAX], *a;
    const uint64_t max = client_bytes_max(b);
    uint64_t slow = client_bytes(b);
    size_t count = 0;
    while ((a = output_first_of(&b->largest)) && slow > max && count < CHECKED_MAX &&
           client_bytes(b) <= SPARED_TIMES * b->bytes_max && is_spared(a, now_ms)) {
        slow -= a->bytes;
        heap_remove(&b->largest, &a->node);
        spared[count++] = a;
    }
    bool is_over = slow > max && count < CHECKED_MAX;
    for (size_t i = 0; i < count; i++)
        heap_add(&b->largest, &spared[i]->node, UINT64_MAX - spared[i]->bytes);
    return is_over ? a : NULL;
}

static void close_account(struct output_account *a, enum output_reason why)
{
    struct output_budget *b = a->budget;
    b->closed[why]++;
    a->close(a, why);
}

bool output_budget_turn(struct output_budget *b, uint64_t now_ms)
{
    unsigned closed = 0;
    while (b->stall_ms && closed < CLOSED_MAX && !list_is_empty(&b->oldest)) {
        struct output_account *a = container_of(b->oldest.next, struct output_account, link);
        if (elapsed(now_ms, a->took_ms) < b->stall_ms)
            break;
        if (a->measure)
            a->measure(a);
        if (container_of(b->oldest.next, struct output_account, link) != a)
            continue; /* it did make progress */
        if (elapsed(now_ms, a->took_ms) < b->stall_ms)
            break;
        close_account(a, OUTPUT_STALLED);
        closed++;
    }
    while (b->bytes_max && client_bytes(b) > client_bytes_max(b) && now_ms >= b->check_ms &&
           closed < CLOSED_MAX) {
        struct output_account *a = output_choose(b, now_ms);
        if (!a) {
            b->check_ms = now_ms + CHECK_MS;
            break;
        }
        close_account(a, OUTPUT_TOTAL);
        closed++;
    }
    return closed == CLOSED_MAX;
}
