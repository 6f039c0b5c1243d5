/* SPDX-License-Identifier: Apache-2.0
 * Hooks that the linker (-Wl,--wrap) puts between production files, so that production code needs no extra
 * API for the simulator. Raft gets a listener and the plan's limits, and the simulator sees everything that
 * each member applies, once and in order. */
#include <stdlib.h>

#include "consensus/kv/kv_impl.h"
#include "consensus/store/watch_state.h"
#include "tests/sim/cluster/invariants.h"

int __real_raft_new(const struct raft_config *config, const struct raft_initial *initial,
                    struct raft **ret_raft);
int __wrap_raft_new(const struct raft_config *config, const struct raft_initial *initial,
                    struct raft **ret_raft);
bool __real_kv_apply(void *arg, const struct raft_entry *entry);
bool __wrap_kv_apply(void *arg, const struct raft_entry *entry);
void __real_kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m);
void __wrap_kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m);
void __real_watch_deliver(struct watch_hub *h, const struct store_change *change);
void __wrap_watch_deliver(struct watch_hub *h, const struct store_change *change);
void __real_store_set_needs_events(struct store *s, bool needs);
void __wrap_store_set_needs_events(struct store *s, bool needs);

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void __real_free(void *ptr);
void __wrap_free(void *ptr);

/* Blocks of our own code that are not freed; libraries keep their own accounts. */
int64_t hooks_live_blocks;

void *__wrap_malloc(size_t size)
{
    hooks_live_blocks++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    hooks_live_blocks++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
    hooks_live_blocks += !ptr;
    return __real_realloc(ptr, size);
}

void __wrap_free(void *ptr)
{
    hooks_live_blocks -= ptr != NULL;
    __real_free(ptr);
}

int __wrap_raft_new(const struct raft_config *config, const struct raft_initial *initial,
                    struct raft **ret_raft)
{
    struct process *p = cluster_running;
    struct raft_config with = *config;
    if (p) {
        const struct plan *plan = &p->machine->world->plan;
        with.trace = invariants_trace;
        with.trace_arg = p;
        with.max_inflight_messages = (uint32_t)plan->inflight_messages;
        with.max_size_per_message = plan->message_bytes;
        with.max_inflight_bytes = plan->inflight_bytes;
        if (with.max_inflight_bytes < with.max_size_per_message)
            with.max_inflight_bytes = with.max_size_per_message;
    }
    int err = __real_raft_new(&with, initial, ret_raft);
    if (p && !err) {
        p->raft = *ret_raft;
        invariants_recovered(p, initial);
    }
    return err;
}

bool __wrap_kv_apply(void *arg, const struct raft_entry *entry)
{
    const struct kv *kv = arg;
    int64_t before = store_revision(kv->store); /* the same in all turns of an entry that takes several
                                                 * turns */
    if (cluster_running && !kv->sliced_apply.work)
        invariants_applies(cluster_running, entry);
    if (!__real_kv_apply(arg, entry))
        return false;
    if (cluster_running)
        invariants_applied(cluster_running, entry, before);
    return true;
}

static void note_change(void *arg, const struct store_change *change)
{
    invariants_changed(arg, change);
}

/* A change that is passed in parts is complete already. */
static void note_large(struct store *s, int64_t revision)
{
    uint32_t sub = 0;
    bool is_last;
    if (store_changes_part(s, revision, &sub, INT32_MAX, true, note_change, cluster_running, &is_last) !=
            OK ||
        !is_last)
        abort();
}

/* Entries that a newer version proposes (FEATURE_LEVEL_TRIAL): every other Put is of a kind of its own. */
void __wrap_kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m)
{
    if (kv_feature_level(kv) == FEATURE_LEVEL_TRIAL && store_revision(kv->store) % 2 == 0)
        kv_start_write(kv, r, KV_PUT, ENTRY_TRIAL, &m->base, store_check_put(m));
    else
        __real_kv_put(kv, r, m);
}

void __wrap_watch_deliver(struct watch_hub *h, const struct store_change *change)
{
    if (cluster_running && change->is_large)
        note_large(h->options.store, change->revision);
    else if (cluster_running)
        invariants_changed(cluster_running, change);
    __real_watch_deliver(h, change);
}

/* The invariants read every change, also without watchers. */
void __wrap_store_set_needs_events(struct store *s, bool needs)
{
    (void)needs;
    __real_store_set_needs_events(s, true);
}
