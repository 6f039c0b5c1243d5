/* SPDX-License-Identifier: Apache-2.0
 * Locks: a key with a lease in a queue that is ordered by the keys' creation.
 *
 *     grant a lease -> put the key -> is it the first? -- no --> watch the key before it -+
 *       (keepalive)                     ^        |                                       |
 *                                       |        +- yes -> HELD, watch the own key       |
 *                                       +------------------------------------------------+
 *
 * - Each step can be repeated: the library chooses the lease's id, the key's name is made of it, and the put
 *   happens only if there is no such key. So an unknown result is no problem.
 * - A waiter watches one key only, the one before its own.
 * - The lease's end removes the key. So ending a lock, in whatever state, is to revoke the lease.
 *
 * The file uses the public API alone, on the client's thread. A call that is under way keeps the lock in memory
 * (`calls`), also after its release. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "sdk/private.h"

enum { LOCK_NAME_MAX = 1024, LOCK_TTL_S = 15, LOCK_TTL_MAX_S = 9000000, LOCK_VALUE_MAX = 64 << 20 };

struct cairn_lock {
    struct object object;
    struct post post;
    struct cairn_client *client;
    struct buf name; /* with a slash behind it */
    struct buf key, value;
    int64_t lease, ttl_seconds, revision;
    bool no_wait;
    struct cairn_keepalive *keepalive;
    struct cairn_watch *watch;    /* of the key before the own one, or of the own one */
    struct cairn_cancel *parts;   /* of the calls under way */
    struct cancel_op canceling;   /* the program's */
    uint32_t timeout_ms;          /* of the wait */
    struct timer deadline, again; /* again: the pause before `step` is repeated */
    void (*step)(struct cairn_lock *l);
    unsigned failures, calls;
    bool is_granted; /* the lease may exist */
    bool is_held, is_over, is_revoking, is_notifying, is_stopped;
    struct waiter *waiter; /* of acquire, until the lock is held or over; then of release */
    void (*callback)(struct cairn_lock *lock, enum cairn_lock_state state, const struct cairn_error *error,
                     void *arg);
    void *arg;
};

static void lock_enqueue(struct cairn_lock *l);
static void lock_look(struct cairn_lock *l);
static void lock_revoke(struct cairn_lock *l);

static void lock_free_if_unused(struct cairn_lock *l)
{
    if (!l->is_stopped || l->calls || l->is_notifying)
        return;
    cairn_cancel_free(l->parts);
    buf_done(&l->name);
    buf_done(&l->key);
    buf_done(&l->value);
    mem_free(l);
}

/* --- the end -------------------------------------------------------------------------------------------- */
static void lock_end_parts(struct cairn_lock *l)
{
    timer_stop(l->client, &l->deadline);
    timer_stop(l->client, &l->again);
    cancel_end(&l->canceling);
    cairn_keepalive_stop(l->keepalive);
    cairn_watch_stop(l->watch);
    l->keepalive = NULL;
    l->watch = NULL;
    cairn_cancel_now(l->parts);
}

/* The thread that waits in acquire does not touch a lock that it did not get: the client may be closed by then. */
static void lock_notify(struct cairn_lock *l, enum cairn_lock_state state, const struct cairn_error *error)
{
    struct waiter *w = l->waiter;
    l->waiter = NULL;
    if (w) {
        if (error->code)
            list_remove(&l->object.link);
        l->is_stopped |= error->code != CAIRN_OK;
        waiter_end(w, NULL, error);
    } else if (l->callback) {
        l->is_notifying = true;
        l->callback(l, state, error, l->arg);
        l->is_notifying = false;
    }
    lock_free_if_unused(l);
}

/* Ends the lock with this error, once. It may be freed inside. */
static void lock_end(struct cairn_lock *l, const struct cairn_error *error)
{
    struct cairn_error e = *error; /* it may belong to a part that ends here */
    if (l->is_over)
        return;
    l->is_over = true;
    l->is_held = false;
    lock_end_parts(l);
    lock_revoke(l);
    lock_notify(l, CAIRN_LOCK_ENDED, &e);
}

static void lock_end_with(struct cairn_lock *l, int code, const char *why)
{
    struct cairn_error e = {0};
    set_error(&e, code, "%s", why);
    lock_end(l, &e);
}

static void lock_on_deadline(struct timer *t)
{
    struct cairn_lock *l = container_of(t, struct cairn_lock, deadline);
    struct cairn_error e = {0};
    set_error(&e, CAIRN_TIMEOUT, "the lock was not free within %u ms", l->timeout_ms);
    lock_end(l, &e);
}

static void lock_on_cancel(struct cancel_op *op, const struct cairn_error *error)
{
    lock_end(container_of(op, struct cairn_lock, canceling), error);
}

/* --- steps ---------------------------------------------------------------------------------------------- */
static void lock_on_again(struct timer *t)
{
    struct cairn_lock *l = container_of(t, struct cairn_lock, again);
    l->step(l);
}

/* Every step is repeated after an error that a reachable member would not give; other errors end the lock. */
static void lock_step_failed(struct cairn_lock *l, void (*step)(struct cairn_lock *l),
                             const struct cairn_error *error)
{
    bool is_passing = error->code == CAIRN_UNAVAILABLE || error->code == CAIRN_UNKNOWN ||
                      error->code == CAIRN_TIMEOUT || error->code == CAIRN_SERVER;
    if (!is_passing) {
        lock_end(l, error);
        return;
    }
    uint64_t ms = (uint64_t)PAUSE_MIN_MS << (l->failures < 5 ? l->failures : 5);
    l->failures++;
    l->step = step;
    timer_start(l->client, &l->again, ms / 2 + random_u64() % (ms / 2 + 1));
}

/* The last line of each call's callback: until then the call keeps the lock in memory. */
static void lock_call_over(struct cairn_lock *l)
{
    l->calls--;
    lock_free_if_unused(l);
}

static struct cairn_call_options lock_options(const struct cairn_lock *l)
{
    return (struct cairn_call_options){.size = sizeof(struct cairn_call_options), .cancel = l->parts};
}

static struct cairn_bytes bytes_of(const struct buf *b)
{
    return (struct cairn_bytes){b->size ? b->data : (const void *)"", b->size};
}

/* Starts a call: err is what the function that starts it returned. */
static void lock_called(struct cairn_lock *l, int err)
{
    if (err)
        lock_end_with(l, err, cairn_error_text(err));
    else
        l->calls++;
}

/* --- the lease ------------------------------------------------------------------------------------------ */
static void lock_on_lease(struct cairn_keepalive *k, int64_t ttl_seconds, const struct cairn_error *error,
                          void *arg)
{
    (void)k;
    if (ttl_seconds <= 0)
        lock_end(arg, error);
}

static void lock_grant(struct cairn_lock *l);

static void lock_keep(struct cairn_lock *l)
{
    struct cairn_error e = {0};
    l->failures = 0;
    int err = cairn_keepalive_start(l->client, l->lease, lock_on_lease, l, &l->keepalive, &e);
    if (err)
        lock_end(l, &e);
    else
        lock_enqueue(l);
}

/* The id is random: if it exists, an attempt whose answer was lost has made it. */
static void lock_on_granted(struct cairn_lease_grant_result *r, const struct cairn_error *error, void *arg)
{
    struct cairn_lock *l = arg;
    cairn_result_free(r);
    if (!l->is_over && error->code && error->code != CAIRN_EXISTS)
        lock_step_failed(l, lock_grant, error);
    else if (!l->is_over)
        lock_keep(l);
    lock_call_over(l);
}

static void lock_grant(struct cairn_lock *l)
{
    struct cairn_lease_grant_request q = {.ttl_seconds = l->ttl_seconds, .id = l->lease};
    struct cairn_call_options o = lock_options(l);
    l->is_granted = true;
    lock_called(l, cairn_lease_grant_async_with(l->client, &q, &o, lock_on_granted, l));
}

/* --- the key -------------------------------------------------------------------------------------------- */
static void lock_on_enqueued(struct cairn_txn_result *r, const struct cairn_error *error, void *arg)
{
    struct cairn_lock *l = arg;
    if (l->is_over) {
        /* nothing: the lease is being revoked, and the key goes with it */
    } else if (error->code == CAIRN_NOT_FOUND) {
        lock_end_with(l, CAIRN_LOST, "the lease is gone");
    } else if (error->code) {
        lock_step_failed(l, lock_enqueue, error);
    } else {
        l->failures = 0;
        if (r->succeeded)
            l->revision = r->header.revision;
        else if (r->result_count && r->results[0].range && r->results[0].range->kv_count)
            l->revision = r->results[0].range->kvs[0].create_revision;
        lock_look(l);
    }
    cairn_result_free(r);
    lock_call_over(l);
}

static void lock_enqueue(struct cairn_lock *l)
{
    struct cairn_compare absent = {.key = bytes_of(&l->key), .target = CAIRN_COMPARE_CREATE};
    struct cairn_put_request put = {
        .key = bytes_of(&l->key), .value = bytes_of(&l->value), .lease = l->lease};
    struct cairn_range_request get = {.key = bytes_of(&l->key), .keys_only = true};
    struct cairn_op then = {.put = &put}, otherwise = {.range = &get};
    struct cairn_txn_request q = {&absent, 1, &then, 1, &otherwise, 1};
    struct cairn_call_options o = lock_options(l);
    lock_called(l, cairn_txn_async_with(l->client, &q, &o, lock_on_enqueued, l));
}

/* --- the queue ------------------------------------------------------------------------------------------ */
/* The watched key was removed: of the holder it is the end, of a waiter its turn may have come. */
static void lock_on_removed(struct cairn_lock *l)
{
    struct cairn_watch *w = l->watch;
    l->watch = NULL;
    cairn_watch_stop(w);
    if (l->is_held)
        lock_end_with(l, CAIRN_LOST, "the lock's key was removed");
    else
        lock_look(l);
}

static void lock_on_update(struct cairn_watch *w, const struct cairn_watch_update *u, void *arg)
{
    struct cairn_lock *l = arg;
    (void)w;
    bool is_removed = u->kind == CAIRN_WATCH_RESYNC && !u->event_count;
    if (u->kind == CAIRN_WATCH_ENDED) {
        lock_end(l, &u->error);
        return;
    }
    for (size_t i = 0; i < u->event_count; i++)
        is_removed |= u->events[i].is_delete;
    if (is_removed)
        lock_on_removed(l);
}

static void lock_watch(struct cairn_lock *l, struct cairn_bytes key, int64_t revision)
{
    struct cairn_watch_request q = {.key = key, .start_revision = revision + 1, .no_put = true};
    struct cairn_error e = {0};
    if (cairn_watch_start(l->client, &q, lock_on_update, l, &l->watch, &e) != CAIRN_OK)
        lock_end(l, &e);
}

static void lock_take(struct cairn_lock *l, int64_t revision)
{
    struct cairn_error none = {0};
    l->is_held = true;
    timer_stop(l->client, &l->deadline);
    cancel_end(&l->canceling);
    lock_watch(l, bytes_of(&l->key), revision);
    if (!l->is_over)
        lock_notify(l, CAIRN_LOCK_HELD, &none);
}

static void lock_decide(struct cairn_lock *l, const struct cairn_txn_result *r)
{
    if (r->result_count < 2 || !r->results[0].range || !r->results[1].range) {
        lock_end_with(l, CAIRN_PROTOCOL, "the server's answer to a transaction is incomplete");
    } else if (!r->results[0].range->kv_count) {
        lock_end_with(l, CAIRN_LOST, "the lock's key was removed");
    } else if (!r->results[1].range->kv_count) {
        lock_take(l, r->header.revision);
    } else if (l->no_wait) {
        lock_end_with(l, CAIRN_CONFLICT, "another one holds the lock");
    } else {
        l->failures = 0;
        lock_watch(l, r->results[1].range->kvs[0].key, r->header.revision);
    }
}

static void lock_on_looked(struct cairn_txn_result *r, const struct cairn_error *error, void *arg)
{
    struct cairn_lock *l = arg;
    if (!l->is_over && error->code)
        lock_step_failed(l, lock_look, error);
    else if (!l->is_over)
        lock_decide(l, r);
    cairn_result_free(r);
    lock_call_over(l);
}

/* Reads the own key, and the last one that was created before it. */
static void lock_look(struct cairn_lock *l)
{
    struct cairn_range_request own = {.key = bytes_of(&l->key), .keys_only = true};
    struct cairn_range_request before = {.key = bytes_of(&l->name),
                                         .prefix = true,
                                         .keys_only = true,
                                         .limit = 1,
                                         .order = CAIRN_DESCEND,
                                         .by = CAIRN_BY_CREATE,
                                         .max_create_revision = l->revision - 1};
    struct cairn_op then[] = {{.range = &own}, {.range = &before}};
    struct cairn_txn_request q = {.then = then, .then_count = 2};
    struct cairn_call_options o = lock_options(l);
    lock_called(l, cairn_txn_async_with(l->client, &q, &o, lock_on_looked, l));
}

/* --- start ---------------------------------------------------------------------------------------------- */
static void lock_stop_here(struct object *o)
{
    struct cairn_lock *l = container_of(o, struct cairn_lock, object);
    struct cairn_error e = {0};
    set_error(&e, CAIRN_CLOSED, "%s", cairn_error_text(CAIRN_CLOSED));
    list_remove(&o->link);
    if (!l->is_over)
        lock_end_parts(l);
    l->is_over = l->is_stopped = true;
    if (l->waiter)
        waiter_end(l->waiter, NULL, &e);
    l->waiter = NULL;
    lock_free_if_unused(l);
}

static void lock_start_here(struct post *p)
{
    struct cairn_lock *l = container_of(p, struct cairn_lock, post);
    struct cairn_error e = {0};
    object_add(l->client, &l->object);
    if (cancel_begin(&l->canceling, &e)) {
        lock_end(l, &e);
        return;
    }
    if (l->timeout_ms)
        timer_start(l->client, &l->deadline, l->timeout_ms);
    lock_grant(l);
}

static int lock_new(struct cairn_client *c, const struct cairn_lock_request *q, struct cairn_lock **ret,
                    struct cairn_error *error)
{
    struct cairn_call_options o = {.size = sizeof o, .timeout_ms = q->timeout_ms, .cancel = q->cancel};
    if (!q->name.size || q->name.size > LOCK_NAME_MAX)
        return set_error(error, CAIRN_INVALID, "a lock's name has 1 to %d bytes, and not %zu",
                         (int)LOCK_NAME_MAX, q->name.size);
    if (q->ttl_seconds < 0 || q->ttl_seconds > LOCK_TTL_MAX_S || q->value.size > LOCK_VALUE_MAX)
        return set_error(error, CAIRN_INVALID, "ttl_seconds is 0 to %d, a value has 64 MiB at most",
                         (int)LOCK_TTL_MAX_S);
    struct cairn_lock *l = mem_new(sizeof *l);
    l->client = c;
    l->canceling.run = lock_on_cancel;
    l->object.stop = lock_stop_here;
    l->post.run = lock_start_here;
    l->deadline.run = lock_on_deadline;
    l->again.run = lock_on_again;
    l->no_wait = q->no_wait;
    l->ttl_seconds = q->ttl_seconds ? q->ttl_seconds : LOCK_TTL_S;
    int err = call_options_take(c, &o, &l->timeout_ms, &l->canceling, error);
    if (err) {
        mem_free(l);
        return err;
    }
    (void)cairn_cancel_new(c, &l->parts);
    l->lease = (int64_t)(random_u64() >> 1 | 1);
    buf_add(&l->name, q->name.data, q->name.size);
    buf_add_text(&l->name, "/");
    buf_add_slice(&l->key, buf_slice(&l->name));
    buf_addf(&l->key, "%" PRIx64, (uint64_t)l->lease);
    buf_add(&l->value, q->value.data, q->value.size);
    *ret = l;
    return CAIRN_OK;
}

/* A lock that never started, or whose object has left the client. */
static void lock_discard(struct cairn_lock *l)
{
    cancel_end(&l->canceling);
    l->is_stopped = true;
    lock_free_if_unused(l);
}

int cairn_lock_start(struct cairn_client *c, const struct cairn_lock_request *request,
                     void (*callback)(struct cairn_lock *lock, enum cairn_lock_state state,
                                      const struct cairn_error *error, void *arg),
                     void *arg, struct cairn_lock **ret_lock, struct cairn_error *error)
{
    struct cairn_lock *l;
    int err = lock_new(c, request, &l, error);
    if (err)
        return err;
    l->callback = callback;
    l->arg = arg;
    *ret_lock = l; /* set before the callback can run */
    err = client_start(c, &l->post);
    if (err) {
        *ret_lock = NULL;
        lock_discard(l);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

int cairn_lock_acquire(struct cairn_client *c, const struct cairn_lock_request *request,
                       void (*callback)(struct cairn_lock *lock, enum cairn_lock_state state,
                                        const struct cairn_error *error, void *arg),
                       void *arg, struct cairn_lock **ret_lock, struct cairn_error *error)
{
    struct waiter w = {0};
    struct cairn_lock *l;
    int err = lock_new(c, request, &l, error);
    if (err)
        return err;
    l->waiter = &w;
    l->callback = callback;
    l->arg = arg;
    *ret_lock = l; /* the callback may run before the return */
    err = waiter_run(&w, c, &l->post, NULL, error);
    if (!err)
        return CAIRN_OK;
    *ret_lock = NULL;
    if (!w.was_posted)
        lock_discard(l);
    return err;
}

/* --- release -------------------------------------------------------------------------------------------- */
static void lock_on_revoked(struct cairn_lease_revoke_result *r, const struct cairn_error *error, void *arg)
{
    struct cairn_lock *l = arg;
    struct cairn_error none = {0};
    cairn_result_free(r);
    l->is_revoking = false;
    if (l->waiter) {
        waiter_end(l->waiter, NULL, error->code == CAIRN_NOT_FOUND ? &none : error);
        l->waiter = NULL;
    }
    lock_call_over(l);
}

/* Without the cancel of the other calls. */
static void lock_revoke(struct cairn_lock *l)
{
    struct cairn_lease_revoke_request q = {l->lease};
    if (!l->is_granted)
        return;
    l->is_granted = false;
    l->is_revoking = cairn_lease_revoke_async(l->client, &q, lock_on_revoked, l) == CAIRN_OK;
    l->calls += l->is_revoking;
}

struct lock_release {
    struct post post;
    struct cairn_lock *lock;
    struct waiter waiter;
};

static void lock_release_now(struct cairn_lock *l, struct waiter *w)
{
    struct cairn_error none = {0};
    list_remove(&l->object.link);
    if (!l->is_over) {
        l->is_over = true;
        l->is_held = false;
        lock_end_parts(l);
        lock_revoke(l);
    }
    l->is_stopped = true;
    if (l->is_revoking)
        l->waiter = w;
    else if (w)
        waiter_end(w, NULL, &none);
    lock_free_if_unused(l);
}

static void lock_release_here(struct post *p)
{
    struct lock_release *r = container_of(p, struct lock_release, post);
    lock_release_now(r->lock, &r->waiter);
}

static void lock_release_unwaited(void *arg)
{
    lock_release_now(arg, NULL);
}

int cairn_lock_release(struct cairn_lock *l, struct cairn_error *error)
{
    if (!l)
        return CAIRN_OK;
    struct lock_release r = {.post.run = lock_release_here, .lock = l};
    if (!client_is_own_thread(l->client))
        return waiter_run(&r.waiter, l->client, &r.post, NULL, error);
    return client_run(l->client, lock_release_unwaited, l);
}

/* --- what a program asks --------------------------------------------------------------------------------- */
struct lock_question {
    struct cairn_lock *lock;
    struct cairn_lock_info *ret;
};

static void lock_info_here(void *arg)
{
    const struct lock_question *q = arg;
    const struct cairn_lock *l = q->lock;
    *q->ret = (struct cairn_lock_info){
        .is_held = l->is_held, .lease = l->lease, .revision = l->revision, .key_size = l->key.size};
    memcpy(q->ret->key, l->key.data, l->key.size);
}

int cairn_lock_now(struct cairn_lock *l, struct cairn_lock_info *ret)
{
    struct lock_question q = {l, ret};
    return client_run(l->client, lock_info_here, &q);
}

int cairn_lock_set_value(struct cairn_lock *l, struct cairn_bytes value, struct cairn_error *error)
{
    struct cairn_lock_info now;
    struct cairn_txn_result *r;
    int err = cairn_lock_now(l, &now);
    if (err)
        return set_error(error, err, "%s", cairn_error_text(err));
    if (!now.is_held)
        return set_error(error, CAIRN_LOST, "the lock is not held");
    struct cairn_bytes key = {now.key, now.key_size};
    struct cairn_compare same = {.key = key, .target = CAIRN_COMPARE_CREATE, .number = now.revision};
    struct cairn_put_request put = {.key = key, .value = value, .lease = now.lease};
    struct cairn_op then = {.put = &put};
    struct cairn_txn_request q = {.compares = &same, .compare_count = 1, .then = &then, .then_count = 1};
    err = cairn_txn(l->client, &q, &r, error);
    if (err == CAIRN_NOT_FOUND)
        return set_error(error, CAIRN_LOST, "the lease is gone");
    if (err)
        return err;
    bool is_done = r->succeeded;
    cairn_result_free(r);
    return is_done ? CAIRN_OK : set_error(error, CAIRN_LOST, "the lock's key was removed");
}
