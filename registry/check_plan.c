/* SPDX-License-Identifier: Apache-2.0
 * The plan of the health checks; see check_plan.h. */
#include "registry/check_plan.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/mutant.h"
#include "base/text.h"
#include "registry/janitor_state.h"

#define FIRST_MS 1000 /* a check without a result begins within this time */

struct check_item {
    struct place place;
    uint64_t hash;   /* check_share_hash of its key */
    uint64_t target; /* a hash of its address and its check: another one begins anew */
    int64_t revision;
    uint32_t interval_ms, deregister_after_s;
    uint32_t ttl_ms;     /* 0: not a TTL check */
    uint64_t silent_ms;  /* TTL: no report has come then */
    uint64_t confirm_ms; /* TTL: reports are confirmed from then on */
    uint16_t failures, successes;
    uint16_t worse, better; /* outcomes in a row that ask for such a state */
    enum instance_state result;
    bool is_held;          /* by this member */
    uint64_t ticket;       /* of the probe under way; 0 = none */
    uint64_t down_ms;      /* this member has seen it down since then; 0 = it is not */
    struct heap_node due;  /* in plan.due; a TTL check in plan.ttl_due */
    struct link write;     /* in plan.writes */
    uint64_t write_ticket; /* of the write under way; 0 = none */
    enum instance_state wanted;
    bool is_deregistration;
    char *output; /* of the wanted state */
};

struct check_plan {
    const struct catalog *catalog;
    uint64_t member_id, random;
    uint64_t last_ticket;
    struct check_share share;
    struct strmap items; /* by the instance's key */
    struct map tickets;  /* of probes and writes */
    struct heap due;
    struct heap ttl_due; /* TTL checks that may have to fail or to be deregistered */
    uint64_t divided_ms; /* the last division */
    uint64_t judged_ms;  /* TTL checks whose time was over then may fail; 0 = none may */
    uint64_t graced_ms;  /* check_plan_grant_grace; 0 = never */
    struct link writes;
    size_t count, held;
    struct buf key; /* scratch */
};

/* SplitMix64. The caller gives the seed, so that a test repeats. */
static uint64_t check_plan_random(struct check_plan *p, uint64_t below)
{
    uint64_t x = p->random += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % below;
}

struct check_plan *check_plan_new(const struct catalog *catalog, uint64_t member_id, uint64_t random_seed)
{
    struct check_plan *p = mem_new(sizeof *p);
    p->catalog = catalog;
    p->member_id = member_id;
    p->random = random_seed;
    list_init(&p->writes);
    return p;
}

/* --- items ---------------------------------------------------------------------------------------------- */

static void forget_probe(struct check_plan *p, struct check_item *c)
{
    if (c->ticket)
        map_remove(&p->tickets, c->ticket);
    c->ticket = 0;
    c->worse = c->better = 0;
}

static void forget_write(struct check_plan *p, struct check_item *c)
{
    if (c->write_ticket)
        map_remove(&p->tickets, c->write_ticket);
    c->write_ticket = 0;
    list_remove(&c->write);
    mem_free(c->output);
    c->output = NULL;
}

static void schedule_first(struct check_plan *p, struct check_item *c, uint64_t now_ms)
{
    uint64_t within_ms =
        c->result == INSTANCE_STARTING && c->interval_ms > FIRST_MS ? FIRST_MS : c->interval_ms;
    heap_remove(&p->due, &c->due);
    heap_add(&p->due, &c->due, now_ms + check_plan_random(p, within_ms));
}

static void unschedule(struct check_plan *p, struct check_item *c)
{
    heap_remove(c->ttl_ms ? &p->ttl_due : &p->due, &c->due);
}

/* The clock of a TTL check begins again, with more time. It is never set back. */
static void schedule_silence(struct check_plan *p, struct check_item *c, uint64_t more_ms, uint64_t now_ms)
{
    uint64_t silent_ms = now_ms + c->ttl_ms + CHECK_LATE_MS + more_ms;
    unschedule(p, c);
    if (c->silent_ms < silent_ms)
        c->silent_ms = silent_ms;
    if (c->result != INSTANCE_DOWN) {
        heap_add(&p->ttl_due, &c->due, c->silent_ms);
    } else if (c->deregister_after_s) {
        if (!c->down_ms)
            c->down_ms = now_ms;
        heap_add(&p->ttl_due, &c->due, c->down_ms + (uint64_t)c->deregister_after_s * 1000);
    }
}

/* The holder before may confirm reports until then. */
static uint64_t left_of_others(const struct check_item *c, uint64_t now_ms)
{
    return c->confirm_ms > now_ms && !MUTANT(TTL_TAKEN_WITHOUT_GRACE) ? c->confirm_ms - now_ms : 0;
}

static void schedule_anew(struct check_plan *p, struct check_item *c, uint64_t now_ms)
{
    if (!c->ttl_ms) {
        schedule_first(p, c, now_ms);
        return;
    }
    c->silent_ms = 0;
    schedule_silence(p, c, left_of_others(c, now_ms), now_ms);
}

/* Begins or ends to run the check. */
static void hold(struct check_plan *p, struct check_item *c, uint64_t now_ms)
{
    bool is_held = check_share_holder(&p->share, c->hash) == p->member_id;
    if (is_held == c->is_held)
        return;
    c->is_held = is_held;
    p->held += is_held ? 1 : (size_t)-1;
    forget_probe(p, c);
    c->down_ms = 0;
    c->confirm_ms = p->divided_ms + CHECK_LEASE_MS;
    unschedule(p, c);
    if (is_held)
        schedule_anew(p, c, now_ms);
    else
        forget_write(p, c);
}

static void free_item(struct check_plan *p, struct check_item *c)
{
    forget_probe(p, c);
    forget_write(p, c);
    unschedule(p, c);
    p->held -= c->is_held;
    p->count--;
    place_done(&c->place);
    mem_free(c);
}

static uint64_t target_of(const struct instance *doc)
{
    struct json_writer w = {.out = &(struct buf){0}};
    struct check check = *doc->check;
    check.result = check.registered = INSTANCE_UP;
    check.output = (struct slice){0};
    jw_open(&w, '{');
    check_write_members(&check, &w);
    jw_key(&w, "host");
    jw_string(&w, doc->host);
    jw_key(&w, "port");
    jw_int(&w, doc->port);
    jw_close(&w, '}');
    uint64_t target = hash64(w.out->data, w.out->size);
    buf_done(w.out);
    return target;
}

static struct check_item *add_item(struct check_plan *p, const struct catalog_instance *i, struct slice key)
{
    struct check_item *c = mem_new(sizeof *c);
    place_init(&c->place, i);
    c->hash = check_share_hash(key);
    strmap_put(&p->items, key, c);
    p->count++;
    return c;
}

/* Another check, or another address: it begins anew. Returns whether it is. */
static bool set_target(struct check_plan *p, struct check_item *c, const struct instance *doc)
{
    uint64_t target = target_of(doc);
    if (c->target == target)
        return false;
    c->target = target;
    unschedule(p, c);
    c->ttl_ms = doc->check->ttl_ms;
    c->interval_ms = doc->check->interval_ms;
    c->deregister_after_s = doc->check->deregister_after_s;
    c->failures = doc->check->failures;
    c->successes = doc->check->successes;
    forget_probe(p, c);
    return true;
}

static void set_result(struct check_plan *p, struct check_item *c, const struct catalog_instance *i)
{
    if (c->revision == i->mod_revision)
        return;
    c->revision = i->mod_revision;
    forget_write(p, c); /* it has been applied, or will fail */
    if (c->result == i->doc->check->result)
        return;
    c->result = i->doc->check->result;
    c->worse = c->better = 0;
    c->down_ms = 0;
}

void check_plan_changed(struct check_plan *p, const struct catalog_service *s, struct slice id,
                        size_t checks_max, uint64_t now_ms)
{
    const struct catalog_instance *i = catalog_instance(s, id);
    bool has_check = i && i->doc && i->doc->check && !i->doc->source.size;
    if (!has_check && !p->count)
        return;
    struct name name = {NAME_INSTANCE, s->ns, s->group, s->name, id, 0};
    buf_clear(&p->key);
    name_add_key(&p->key, &name);
    struct slice key = buf_slice(&p->key);
    struct check_item *c = strmap_get(&p->items, key);
    if (!has_check) {
        if (c) {
            strmap_remove(&p->items, key);
            free_item(p, c);
        }
        return;
    }
    if (!c && checks_max && p->count >= checks_max)
        return;
    if (!c)
        c = add_item(p, i, key);
    bool is_new = set_target(p, c, i->doc);
    set_result(p, c, i);
    if (!c->is_held)
        hold(p, c, now_ms);
    else if (is_new)
        schedule_anew(p, c, now_ms);
    else if (c->ttl_ms)
        schedule_silence(p, c, left_of_others(c, now_ms), now_ms);
}

void check_plan_divide(struct check_plan *p, const struct check_share *share, uint64_t now_ms)
{
    struct slice key;
    void *value;
    p->share = *share;
    p->divided_ms = now_ms;
    for (size_t at = 0; strmap_next(&p->items, &at, &key, &value);)
        hold(p, value, now_ms);
}

/* --- probes --------------------------------------------------------------------------------------------- */

bool check_plan_next(struct check_plan *p, uint64_t now_ms, struct check_run *ret_run)
{
    struct heap_node *n = heap_first(&p->due);
    if (!n || n->key > now_ms)
        return false;
    struct check_item *c = container_of(n, struct check_item, due);
    heap_remove(&p->due, &c->due);
    c->ticket = ++p->last_ticket;
    map_put(&p->tickets, c->ticket, c);
    *ret_run = (struct check_run){c->ticket, place_find(&c->place, p->catalog)};
    assert(ret_run->instance && ret_run->instance->doc && ret_run->instance->doc->check);
    /* A little earlier or later each time: checks that began together do not stay together. */
    uint64_t jitter_ms = c->interval_ms / 16;
    c->due.key = now_ms + c->interval_ms - jitter_ms / 2 + check_plan_random(p, jitter_ms + 1);
    return true;
}

/* How bad a state is. Without a result a failure is worse, and a success is better. */
static int badness(enum instance_state state)
{
    return state == INSTANCE_UP ? 0 : state == INSTANCE_WARN ? 1 : state == INSTANCE_STARTING ? 2 : 3;
}

static void want(struct check_plan *p, struct check_item *c, enum instance_state state, const char *output,
                 bool is_deregistration)
{
    if (c->write_ticket)
        return; /* one at a time: the next outcome asks again */
    mem_free(c->output);
    c->output = mem_string(output);
    c->wanted = state;
    c->is_deregistration = is_deregistration;
    if (!link_is_in_list(&c->write))
        list_add_last(&p->writes, &c->write);
}

void check_plan_outcome(struct check_plan *p, uint64_t ticket, enum check_outcome outcome, const char *output,
                        uint64_t now_ms)
{
    static const enum instance_state states[] = {INSTANCE_UP, INSTANCE_WARN, INSTANCE_DOWN};
    struct check_item *c = map_remove(&p->tickets, ticket);
    if (!c)
        return;
    enum instance_state state = states[outcome];
    c->ticket = 0;
    heap_add(&p->due, &c->due, c->due.key > now_ms ? c->due.key : now_ms);
    int difference = badness(state) - badness(c->result);
    c->worse = difference > 0 ? (uint16_t)(c->worse + (c->worse < CHECK_RUNS_MAX)) : 0;
    c->better = difference < 0 ? (uint16_t)(c->better + (c->better < CHECK_RUNS_MAX)) : 0;
    if (!difference && !c->write_ticket)
        forget_write(p, c); /* it has not been given out, and is not wanted any more */
    if ((difference > 0 && c->worse >= c->failures) || (difference < 0 && c->better >= c->successes)) {
        want(p, c, state, output, false);
        return;
    }
    if (c->result != INSTANCE_DOWN || state != INSTANCE_DOWN || !c->deregister_after_s) {
        c->down_ms = 0;
        return;
    }
    if (!c->down_ms)
        c->down_ms = now_ms;
    if (now_ms - c->down_ms >= (uint64_t)c->deregister_after_s * 1000)
        want(p, c, state, output, true);
}

/* --- TTL checks ----------------------------------------------------------------------------------------- */

bool check_plan_report(struct check_plan *p, struct slice key, enum instance_state state, uint64_t now_ms)
{
    struct check_item *c = strmap_get(&p->items, key);
    if (!c || !c->ttl_ms || !c->is_held || c->result != state)
        return false;
    if (now_ms < c->confirm_ms && !MUTANT(TTL_CONFIRMED_EARLY))
        return false;
    if (c->write_ticket && !MUTANT(TTL_CONFIRMED_LATE))
        return false;
    if (state == INSTANCE_DOWN)
        return true; /* it has no clock */
    if (!c->write_ticket)
        forget_write(p, c); /* the failure that was not proposed yet */
    schedule_silence(p, c, 0, now_ms);
    return true;
}

/* The same text each time: silence alone changes nothing more. */
static void fail(struct check_plan *p, struct check_item *c, uint64_t now_ms)
{
    bool is_deregistration = c->result == INSTANCE_DOWN;
    struct buf output = {0};
    buf_add_text(&output, "no report for ");
    text_add_duration(&output, (int64_t)c->ttl_ms * 1000000);
    want(p, c, INSTANCE_DOWN, buf_text(&output), is_deregistration);
    buf_done(&output);
    heap_add(&p->ttl_due, &c->due, now_ms + CHECK_ROUND_MS); /* again, if the write is not applied */
}

void check_plan_judge(struct check_plan *p, uint64_t now_ms)
{
    p->judged_ms = now_ms;
}

/* Clocks that run out before the grace is over are set then: there may be many. */
void check_plan_grant_grace(struct check_plan *p, uint64_t now_ms)
{
    p->judged_ms = 0;
    p->graced_ms = now_ms;
}

static uint64_t grace_of(const struct check_plan *p, const struct check_item *c)
{
    if (!p->graced_ms || c->result == INSTANCE_DOWN || MUTANT(TTL_LEADER_UNSEEN))
        return 0;
    return p->graced_ms + c->ttl_ms + CHECK_LATE_MS + CHECK_LEASE_MS;
}

bool check_plan_fail_some(struct check_plan *p, size_t most, uint64_t now_ms)
{
    struct heap_node *n;
    while ((n = heap_first(&p->ttl_due)) && n->key <= p->judged_ms) {
        struct check_item *c = container_of(n, struct check_item, due);
        uint64_t grace_ms = grace_of(p, c);
        if (!most--)
            return true;
        if (grace_ms > p->judged_ms) {
            heap_move(&p->ttl_due, n, grace_ms);
            continue;
        }
        heap_remove(&p->ttl_due, n);
        fail(p, c, now_ms);
    }
    return false;
}

/* --- writes --------------------------------------------------------------------------------------------- */

bool check_plan_next_write(struct check_plan *p, struct check_write *ret_write)
{
    if (list_is_empty(&p->writes))
        return false;
    struct check_item *c = container_of(p->writes.next, struct check_item, write);
    list_remove(&c->write);
    c->write_ticket = ++p->last_ticket;
    map_put(&p->tickets, c->write_ticket, c);
    *ret_write = (struct check_write){c->write_ticket, place_find(&c->place, p->catalog), c->wanted,
                                      c->is_deregistration, slice_text(c->output)};
    assert(ret_write->instance && ret_write->instance->mod_revision == c->revision);
    return true;
}

void check_plan_write_failed(struct check_plan *p, uint64_t ticket)
{
    struct check_item *c = map_get(&p->tickets, ticket);
    if (c)
        forget_write(p, c);
}

/* --- the whole ------------------------------------------------------------------------------------------ */

uint64_t check_plan_wake_ms(const struct check_plan *p)
{
    const struct heap_node *n = heap_first(&p->due);
    return n ? n->key : UINT64_MAX;
}

bool check_plan_has_writes(const struct check_plan *p)
{
    return !list_is_empty(&p->writes);
}

size_t check_plan_count(const struct check_plan *p)
{
    return p->count;
}

size_t check_plan_held(const struct check_plan *p)
{
    return p->held;
}

void check_plan_free(struct check_plan *p)
{
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&p->items, &at, &key, &value);)
        free_item(p, value);
    strmap_done(&p->items);
    map_done(&p->tickets);
    heap_done(&p->due);
    heap_done(&p->ttl_due);
    buf_done(&p->key);
    mem_free(p);
}
