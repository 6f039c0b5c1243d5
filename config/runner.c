/* SPDX-License-Identifier: Apache-2.0
 * The runner; see runner.h.
 *
 *   entry ── due ──► schedule: config_run_schedule
 *                    rollout:  rollout_plan ──► wait | count the listeners | config_run_rollout
 *
 * A new leader forgets what it knew: the times at which it saw a step first, and counts. */
#include "config/runner.h"

#include <string.h>

#include "base/heap.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mutant.h"
#include "config/config_private.h"
#include "config/rollout_plan.h"

#define WAKE_MAX_MS 600000 /* the wall clock may jump */

struct runner_entry {
    struct heap_node due; /* wall clock ms; in no heap: nothing to do */
    enum config_key kind;
    struct config_id key; /* owned, behind the struct */
    int64_t revision;     /* of the document */
    uint64_t generation;
    /* Of a rollout, for the leader: */
    uint64_t term;
    int64_t seen_revision, seen_ms;
    struct rollout_survey survey;
    char bytes[];
};

struct runner {
    struct config *config;
    struct io *io;
    struct strmap entries; /* the document's key -> struct runner_entry */
    struct heap due;
    uint64_t generation, term;
    bool is_whole, is_leading;
    struct io_timer timer;
    /* Under way: a write or a count. */
    bool is_busy, is_counting;
    struct buf busy_key; /* of its entry, which may be gone by its end */
    int64_t busy_revision;
    struct config_request request;
    struct config_listeners listeners;
    struct rollout_survey survey;
    uint64_t survey_seq;
};

static int64_t runner_wall_ms(const struct runner *r)
{
    return config_wall_ms(r->config);
}

static void set_due(struct runner *r, struct runner_entry *e, int64_t ms)
{
    uint64_t at = ms < 0 ? 0 : (uint64_t)ms;
    if (ms == INT64_MAX)
        heap_remove(&r->due, &e->due);
    else if (heap_contains(&e->due))
        heap_move(&r->due, &e->due, at);
    else
        heap_add(&r->due, &e->due, at);
}

/* --- the entries ---------------------------------------------------------------------------------------- */

static void free_entry(struct runner *r, struct runner_entry *e)
{
    if (!e)
        return;
    heap_remove(&r->due, &e->due);
    mem_free(e);
}

static struct slice place(struct runner_entry *e, size_t *at, struct slice text)
{
    char *to = e->bytes + *at;
    memcpy(to, text.data, text.size);
    *at += text.size;
    return slice_of(to, text.size);
}

static struct runner_entry *new_entry(const struct config_name *name)
{
    size_t at = 0;
    struct runner_entry *e = mem_new(sizeof *e + name->ns.size + name->group.size + name->name.size);
    e->kind = name->kind;
    e->key.ns = place(e, &at, name->ns);
    e->key.group = place(e, &at, name->group);
    e->key.name = place(e, &at, name->name);
    return e;
}

/* When the document is due; INT64_MAX = never. One that cannot be read is left alone. */
static int64_t due_of(enum config_key kind, struct slice text)
{
    struct arena a = {0};
    struct workflow_schedule schedule;
    struct workflow_rollout rollout;
    int64_t due = INT64_MAX;
    if (kind == CONFIG_SCHEDULE && workflow_schedule_read(text, &a, &schedule) == OK &&
        schedule.state == SCHEDULE_PENDING)
        due = schedule.at_ms;
    if (kind == CONFIG_ROLLOUT && workflow_rollout_read(text, &a, &rollout) == OK &&
        workflow_rollout_is_open(&rollout))
        due = 0;
    arena_done(&a);
    return due;
}

void runner_begin(struct runner *r, bool is_whole)
{
    r->is_whole = is_whole;
    r->generation += is_whole;
}

void runner_put(struct runner *r, const struct config_name *name, struct slice text, int64_t revision)
{
    struct buf key = {0};
    config_name_add_key(&key, name);
    struct runner_entry *e = strmap_get(&r->entries, buf_slice(&key));
    if (!e) {
        e = new_entry(name);
        strmap_put(&r->entries, buf_slice(&key), e);
    }
    e->generation = r->generation;
    e->revision = revision;
    set_due(r, e, due_of(name->kind, text));
    buf_done(&key);
}

void runner_remove(struct runner *r, const struct config_name *name)
{
    struct buf key = {0};
    config_name_add_key(&key, name);
    free_entry(r, strmap_remove(&r->entries, buf_slice(&key)));
    buf_done(&key);
}

void runner_end(struct runner *r)
{
    struct slice key;
    void *value;
    for (size_t at = 0; r->is_whole && strmap_next(&r->entries, &at, &key, &value);) {
        struct runner_entry *e = value;
        if (e->generation != r->generation)
            free_entry(r, strmap_remove(&r->entries, key));
    }
    r->is_whole = false;
}

/* --- what is under way ---------------------------------------------------------------------------------- */

static struct runner_entry *busy_entry(struct runner *r)
{
    return strmap_get(&r->entries, buf_slice(&r->busy_key));
}

static void begin_work(struct runner *r, const struct runner_entry *e, bool is_counting)
{
    buf_clear(&r->busy_key);
    config_name_add_key(&r->busy_key,
                        &(struct config_name){e->kind, e->key.ns, e->key.group, e->key.name, 0});
    r->busy_revision = e->revision;
    r->is_busy = true;
    r->is_counting = is_counting;
}

static void wake(struct runner *r, uint64_t ms)
{
    r->io->ops->timer_start(r->io, &r->timer, ms < WAKE_MAX_MS ? ms : WAKE_MAX_MS);
}

/* A write that had an effect changes the document: then the feed sets the entry's next time. */
static void on_written(struct config_request *q, int err, const struct config_result *result)
{
    struct runner *r = container_of(q, struct runner, request);
    struct runner_entry *e = busy_entry(r);
    r->is_busy = false;
    wake(r, 0);
    if (err)
        log_warn("a scheduled publish or a rollout could not go on; trying again", F_ERR(err),
                 F_STR("reason", result && result->error ? result->error : ""));
    if (e && e->revision == r->busy_revision && heap_contains(&e->due))
        set_due(r, e, runner_wall_ms(r) + RUNNER_RETRY_MS);
}

static void on_counted_listener(struct config_listeners *l, const struct config_listener *listener)
{
    struct runner *r = container_of(l, struct runner, listeners);
    r->survey.applied += listener->applied == r->survey_seq;
    r->survey.rejected += listener->rejected == r->survey_seq && listener->applied != r->survey_seq;
}

static void on_counted(struct config_request *q, int err, const struct config_result *result)
{
    struct config_listeners *l = container_of(q, struct config_listeners, request);
    struct runner *r = container_of(l, struct runner, listeners);
    struct runner_entry *e = busy_entry(r);
    (void)result;
    r->is_busy = false;
    wake(r, 0);
    if (!e || e->revision != r->busy_revision)
        return;
    r->survey.silent = l->members_silent;
    r->survey.at_ms = runner_wall_ms(r);
    if (!err)
        e->survey = r->survey;
    if (heap_contains(&e->due))
        set_due(r, e, err ? runner_wall_ms(r) + RUNNER_RETRY_MS : 0);
}

static void count(struct runner *r, struct runner_entry *e, uint64_t seq)
{
    begin_work(r, e, true);
    r->survey = (struct rollout_survey){0};
    r->survey_seq = seq;
    r->listeners =
        (struct config_listeners){.request = {.done = on_counted}, .on_listener = on_counted_listener};
    config_listeners(r->config, &r->listeners, &e->key);
}

/* --- what is due ---------------------------------------------------------------------------------------- */

static void run_schedule(struct runner *r, struct runner_entry *e)
{
    begin_work(r, e, false);
    r->request = (struct config_request){.done = on_written};
    config_run_schedule(r->config, &r->request, &e->key, e->revision);
}

static void examine_rollout(struct runner *r, struct runner_entry *e, const struct workflow_rollout *rollout)
{
    const struct config_item *item = config_find(r->config, &e->key);
    int64_t now = runner_wall_ms(r);
    if (e->term != r->term || e->seen_revision != e->revision) {
        e->term = r->term;
        e->seen_revision = e->revision;
        e->seen_ms = now;
        e->survey = (struct rollout_survey){0};
    }
    e->seen_ms = now < e->seen_ms ? now : e->seen_ms; /* the clock was set back */
    const struct rollout_plan plan = rollout_plan(&(struct rollout_state){
        .rollout = rollout,
        .head = item ? item->head : NULL,
        .survey = e->survey,
        .seen_ms = e->seen_ms,
        .now_ms = now,
    });
    if (plan.action == ROLLOUT_WAIT) {
        set_due(r, e, plan.until_ms);
    } else if (plan.action == ROLLOUT_SURVEY) {
        count(r, e, rollout->seq);
    } else {
        begin_work(r, e, false);
        r->request = (struct config_request){.done = on_written};
        config_run_rollout(r->config, &r->request, &e->key, e->revision, plan.action,
                           slice_text(plan.reason));
    }
}

static void run_rollout(struct runner *r, struct runner_entry *e)
{
    struct arena a = {0};
    struct workflow_rollout rollout;
    const Mvccpb__KeyValue *pair = NULL;
    struct slice key = config_key(&a, CONFIG_ROLLOUT, &e->key, 0);
    int err = config_lookup(r->config, key, &a, &pair);
    if (err || !pair || pair->mod_revision != e->revision) /* the feed will say so */
        set_due(r, e, runner_wall_ms(r) + RUNNER_RETRY_MS);
    else if (workflow_rollout_read(pair_value(pair), &a, &rollout) == OK)
        examine_rollout(r, e, &rollout);
    else
        set_due(r, e, INT64_MAX);
    arena_done(&a);
}

/* --- turns ---------------------------------------------------------------------------------------------- */

static void runner_on_timer(struct io_timer *timer)
{
    (void)timer; /* it only wakes the loop: the turn follows */
}

static void stop_work(struct runner *r)
{
    if (r->is_busy)
        config_cancel(r->config, r->is_counting ? &r->listeners.request : &r->request);
    r->is_busy = false;
}

static bool is_leader(const struct runner *r)
{
    struct kv *kv = r->config->kv;
    return kv_leader(kv) == kv_member_id(kv) || MUTANT(RUNNER_FOLLOWER_ACTS);
}

void runner_turn(struct runner *r)
{
    if (!is_leader(r)) {
        stop_work(r);
        r->is_leading = false;
        return;
    }
    r->term += !r->is_leading;
    r->is_leading = true;
    struct heap_node *first = heap_first(&r->due);
    if (r->is_busy || !first)
        return;
    uint64_t now = (uint64_t)runner_wall_ms(r);
    if (first->key <= now) {
        struct runner_entry *e = container_of(first, struct runner_entry, due);
        if (e->kind == CONFIG_SCHEDULE)
            run_schedule(r, e);
        else
            run_rollout(r, e);
        first = heap_first(&r->due);
    }
    if (!r->is_busy && first)
        wake(r, first->key > now ? first->key - now : 0);
}

struct runner *runner_new(struct config *c)
{
    struct runner *r = mem_new(sizeof *r);
    r->config = c;
    r->io = kv_io(c->kv);
    r->timer.fire = runner_on_timer;
    return r;
}

void runner_free(struct runner *r)
{
    struct slice key;
    void *value;
    stop_work(r);
    r->io->ops->timer_stop(r->io, &r->timer);
    for (size_t at = 0; strmap_next(&r->entries, &at, &key, &value);)
        free_entry(r, value);
    strmap_done(&r->entries);
    heap_done(&r->due);
    buf_done(&r->busy_key);
    mem_free(r);
}
