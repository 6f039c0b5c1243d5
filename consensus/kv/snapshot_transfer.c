/* SPDX-License-Identifier: Apache-2.0
 * Snapshots between members: copies of the whole state for those whose entries are gone from the log.
 * Snapshots for clients are in exports.c.
 *
 * A snapshot that comes:
 *   1. the file is whole and durable (node/snapshot_receive.c)
 *   2. raft takes it, or it is deleted
 *   3. the log is cut behind it (node/node.c)
 *   4. the file is made ready and renamed on the store's worker, while the old store goes on serving
 *      (node/snapshot_install.c)
 *   5. in one go: the new store takes the place of the old one, all that was read from the old one is read
 *      anew, the node goes on
 *
 * Requests stay. Reads that wait are served by the new store, those in slices begin again. Proposals that the
 * snapshot covers end at their limit, because their fate cannot be known. Watchers read on from where they
 * are. */
#include "base/failpoint.h"
#include "consensus/kv/kv_impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/node/conf_store.h"
#include "consensus/node/snapshot_receive.h"
#include "consensus/node/snapshot_send.h"
#include "consensus/raft/confchange.h"
#include "consensus/store/defrag.h"

#define GIVE_UP_MS       30000
#define KEEP_MS          60000
#define RECEIVE_MAX      (1ULL << 40) /* bytes; a larger store is refused */
#define NEEDED_LOG_MAX   200000       /* entries that are kept for transfers under way, at most */
#define NEEDED_LOG_TIMES 4            /* and bytes: so many times what is kept else */

/* --- to another member --------------------------------------------------------------------------- */

static void kv_snapshot_copy(void *arg, const char *path, struct raft_snapshot *ret_state,
                             void (*done)(void *done_arg, int err), void *done_arg)
{
    struct kv *kv = arg;
    *ret_state = (struct raft_snapshot){.conf_state = *node_conf_state(kv->node)};
    store_next_copy(kv->store, &ret_state->index, &ret_state->term);
    store_copy(kv->store, path, done, done_arg);
}

static void report(void *arg, uint64_t id, bool delivered)
{
    struct kv *kv = arg;
    node_report_snapshot(kv->node, id, delivered);
    kv_schedule_turn(kv);
}

void kv_send_snapshot(void *arg, const struct raft_message *m)
{
    struct kv *kv = arg;
    snapshot_send_start(kv->snapshot_transfer.sending, m, node_log_begin(kv->node));
}

uint64_t kv_log_needed(const struct kv *kv, uint64_t durable_index)
{
    uint64_t needed =
        kv->snapshot_transfer.sending ? snapshot_send_needs(kv->snapshot_transfer.sending) : UINT64_MAX;
    bool is_bearable = needed < durable_index && durable_index - needed <= NEEDED_LOG_MAX;
    if (kv->settings.log_disk_bytes_max &&
        node_log_disk_bytes(kv->node) / NEEDED_LOG_TIMES > kv->settings.log_disk_bytes_max)
        is_bearable = false;
    return is_bearable ? needed : durable_index;
}

/* --- from the leader ----------------------------------------------------------------------------- */

static bool kv_snapshot_deliver(void *arg, const struct raft_message *m)
{
    struct kv *kv = arg;
    kv_schedule_turn(kv);
    return node_receive_snapshot(kv->node, m);
}

static void receive_failed(void *arg, int err)
{
    kv_set_failed(arg, err);
}

/* Only called by a mutant. */
static void forget_checkpoints(struct lease_table *t)
{
    int64_t *ids;
    size_t count = lease_list(t, &ids);
    for (size_t i = 0; i < count; i++)
        lease_set_remaining(t, ids[i], 0);
    mem_free(ids);
}

static void load_leases(struct kv *kv)
{
    lease_table_reset(kv->leases);
    int err = store_scan(kv->store, BACKEND_LEASES, kv_restore_lease, kv->leases);
    if (err)
        kv_set_failed(kv, err);
    if (MUTANT(SNAPSHOT_WITHOUT_CHECKPOINTS))
        forget_checkpoints(kv->leases);
    store_attach_leases(kv->store);
}

/* Facts about members that are not in the log stay: was_heard. */
static void load_members(struct kv *kv)
{
    struct members old = kv->members;
    kv->members = (struct members){0};
    int err = members_load(&kv->members, kv->store);
    if (err)
        kv_set_failed(kv, err);
    for (size_t i = 0; i < kv->members.count; i++) {
        const struct member *before = member_find(&old, kv->members.list[i].id);
        kv->members.list[i].was_heard = before && before->was_heard;
    }
    if (kv->peers)
        kv_peers_set(kv);
    members_done(&old);
}

static void load_rest(struct kv *kv)
{
    alarms_done(&kv->alarms);
    kv->alarms = (struct alarms){0};
    int err = alarms_load(&kv->alarms, kv->store);
    if (!err && !MUTANT(SNAPSHOT_WITHOUT_USERS))
        err = kv_auth_load(kv);
    if (err)
        kv_set_failed(kv, err);
    kv_reset_space_alarm(kv);
}

static void on_installed(void *arg, int err, const char *error, struct store *store)
{
    struct kv *kv = arg;
    struct raft_conf_state conf;
    kv->snapshot_transfer.installing = NULL;
    metric_set(METRIC_INSTALLING, 0);
    if (!err) {
        err = conf_store_load(store, &conf);
        if (!err && !raft_conf_state_equal(&conf, &kv->snapshot_transfer.conf))
            err = ERR_CORRUPT;
        error = "the snapshot's store has another configuration than its message";
        if (err)
            store_drop(store);
    }
    if (err) {
        log_error("a snapshot cannot be installed", F_STR("reason", error), F_ERR(err));
        kv_set_failed(kv, err);
        return;
    }
    struct store *old = kv->store;
    FAILPOINT(RAFT_BEFORE_APPLY_SNAP);
    kv->store = store;
    kv_state_check_reset(kv); /* the digest was the old store's */
    if (!MUTANT(SNAPSHOT_WITHOUT_LEASES))
        load_leases(kv);
    if (!MUTANT(SNAPSHOT_WITHOUT_MEMBERS))
        load_members(kv);
    load_rest(kv);
    int level_err = MUTANT(SNAPSHOT_WITHOUT_LEVEL) ? OK : kv_feature_load(kv);
    if (level_err == ERR_LEVEL && MUTANT(SNAPSHOT_LEVEL_UNCHECKED))
        level_err = OK;
    if (MUTANT(SNAPSHOT_LEVEL_TAKEN_FOR_OWN))
        kv_feature_raise_to_own(kv);
    kv_listen_to_store(kv);
    watch_store_replaced(kv->hub, store);
    kv_scan_restart_all(kv);
    store_drop(old);
    kv_defrag_start(kv);
    snapshot_receive_done(kv->snapshot_transfer.receiving);
    FAILPOINT(RAFT_AFTER_APPLY_SNAP);
    log_info("installed a snapshot", F_UINT("index", store_applied_index(store)),
             F_UINT("term", store_applied_term(store)), F_INT("revision", store_revision(store)));
    if (level_err) {
        log_error("the state that the leader sent is of a newer version: this member stops",
                  F_STR("reason", kv_feature_text(kv)));
        kv_set_failed(kv, level_err);
        node_stop(kv->node);
        return;
    }
    node_installed(kv->node);
    kv_schedule_turn(kv);
}

void kv_install(void *arg, const struct raft_snapshot *snapshot)
{
    struct kv *kv = arg;
    kv->snapshot_transfer.conf = snapshot->conf_state;
    metric_set(METRIC_INSTALLING, 1);
    put_be64(kv->snapshot_transfer.install.identity, kv->cluster_id);
    put_be64(kv->snapshot_transfer.install.identity + 8, kv->member_id);
    /* A packed file of the old state must not take the name after the snapshot has (etcd #20650). */
    store_defrag_cancel(kv->store);
    kv->snapshot_transfer.installing =
        snapshot_install_start(&kv->snapshot_transfer.install, snapshot, on_installed, kv);
}

/* --- messages ------------------------------------------------------------------------------------ */

void kv_on_snapshot_message(struct kv *kv, uint64_t from, struct slice bytes)
{
    struct snapshot_packet words;
    struct arena arena = {0};
    if (snapshot_read(bytes, &arena, &words) == OK) {
        if (words.kind == SNAPSHOT_OFFER) {
            snapshot_receive_offer(kv->snapshot_transfer.receiving, from, &words.offer);
            codec_done_raft(&words.offer.message);
        } else if (words.kind == SNAPSHOT_PIECE) {
            snapshot_receive_piece(kv->snapshot_transfer.receiving, from, &words.piece);
        } else {
            snapshot_send_answer(kv->snapshot_transfer.sending, from, &words.answer);
        }
    }
    arena_done(&arena);
}

/* --- start and end -------------------------------------------------------------------------------- */

int kv_snapshot_recover(struct kv *kv, const struct kv_options *o, uint64_t map_size, const char *wal_dir,
                        char *error, size_t error_size)
{
    kv->snapshot_transfer.install = (struct snapshot_install_options){
        .io = o->io, .dir = kv->settings.member_dir, .backend_open = o->backend_open, .map_size = map_size};
    int err = snapshot_install_recover(&kv->snapshot_transfer.install, wal_dir, error, error_size);
    if (err)
        return err;
    err = snapshot_receive_clean(o->io, kv->settings.member_dir, false);
    if (!err)
        err = snapshot_send_clean(o->io, kv->settings.member_dir);
    /* A rename that is seen need not be durable: its sync may have been what ended the last process. */
    if (!err)
        err = o->io->ops->sync_dir(o->io, kv->settings.member_dir);
    if (err)
        snprintf(error, error_size, "%s: what is left of snapshots cannot be deleted: %s",
                 kv->settings.member_dir, err_text(err));
    return err;
}

void kv_snapshot_open(struct kv *kv, const struct kv_options *o)
{
    kv->snapshot_transfer.sending = snapshot_send_new(&(struct snapshot_send_options){
        .io = o->io,
        .peers = o->peers,
        .dir = kv->settings.member_dir,
        .bytes_per_s = o->snapshot_bytes_per_s,
        .give_up_ms = GIVE_UP_MS,
        .keep_ms = KEEP_MS,
        .copy = kv_snapshot_copy,
        .report = report,
        .arg = kv,
    });
    kv->snapshot_transfer.receiving = snapshot_receive_new(&(struct snapshot_receive_options){
        .io = o->io,
        .peers = o->peers,
        .dir = kv->settings.member_dir,
        .member_id = kv->member_id,
        .size_max = RECEIVE_MAX,
        .keep_ms = KEEP_MS,
        .deliver = kv_snapshot_deliver,
        .failed = receive_failed,
        .arg = kv,
    });
}

void kv_snapshot_close(struct kv *kv)
{
    snapshot_send_close(kv->snapshot_transfer.sending);
    snapshot_receive_close(kv->snapshot_transfer.receiving);
    if (kv->snapshot_transfer.installing)
        snapshot_install_cancel(kv->snapshot_transfer.installing);
    kv->snapshot_transfer.sending = NULL;
    kv->snapshot_transfer.receiving = NULL;
    kv->snapshot_transfer.installing = NULL;
}

void kv_snapshot_set_store(struct kv *kv, const struct store_options *options)
{
    kv->snapshot_transfer.install.store = *options;
}

bool kv_is_installing(const struct kv *kv)
{
    return kv->snapshot_transfer.installing != NULL;
}

void kv_snapshot_stop_sending(struct kv *kv)
{
    if (kv->snapshot_transfer.sending)
        snapshot_send_stop(kv->snapshot_transfer.sending);
}

void kv_snapshot_on_reachable(struct kv *kv, uint64_t id)
{
    snapshot_send_reachable(kv->snapshot_transfer.sending, id);
}

void kv_snapshot_forget(struct kv *kv, uint64_t id)
{
    snapshot_send_forget(kv->snapshot_transfer.sending, id);
}
