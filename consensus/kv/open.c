/* SPDX-License-Identifier: Apache-2.0
 * Opening and closing of a data folder: <data_dir>/member with the WAL's folder and the store's file.
 *
 * First start:
 *   1. the WAL is made
 *   2. the store gets the members of --initial-cluster as entry (index 1, term 1); the log starts after it
 * A crash in between is found (store empty, WAL without entries) and finished. After that the ids in the WAL
 * are valid, whatever the options say.
 *
 * Later starts:
 *   - A store without its WAL is refused: a member that lost its log must not vote under its old id.
 *   - A WAL without its store: the bootstrap entry is written again and the log is replayed. This is refused
 *     if the log no longer begins early enough (node_open.c). */
#include "consensus/kv/kv_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/metric_family.h"
#include "consensus/node/conf_store.h"
#include "consensus/store/defrag.h"
#include "consensus/node/identity.h"

#define BOOTSTRAP_INDEX   1
#define BOOTSTRAP_TERM    1
#define STORE_MAP_BYTES   (1ULL << 36) /* address space only; four times the quota if that is more */
#define QUOTA_DEFAULT     (2LL << 30)
#define ADVANCE_MS        5000      /* after the start; as long as etcd waits for its peers */
#define SLOW_APPLY_NS     100000000 /* etcd's */
#define FRAGMENT_SLACK    (512u << 10)
#define AUTH_TOKEN_TTL_MS 300000

static char *join_path(const char *dir, const char *name)
{
    struct buf b = {0};
    buf_addf(&b, "%s/%s", dir, name);
    char *path = mem_string(buf_text(&b));
    buf_done(&b);
    return path;
}

/* --- first start ------------------------------------------------------------------------------------- */

/* The URLs that --initial-cluster gives to one name. */
static size_t urls_of(const struct kv_options *o, const char *name, const char **ret_urls)
{
    size_t count = 0;
    for (size_t i = 0; i < o->initial_cluster_count; i++)
        if (strcmp(o->initial_cluster[i].name, name) == 0)
            ret_urls[count++] = o->initial_cluster[i].peer_url;
    return count;
}

static int derive_identity(struct kv *kv, const struct kv_options *o, char *error, size_t error_size)
{
    const char **urls = mem_new((o->initial_cluster_count + 1) * sizeof *urls);
    uint64_t *ids = mem_new((o->initial_cluster_count + 1) * sizeof *ids);
    size_t id_count = 0;
    const char *own_name = o->initial_name ? o->initial_name : o->name;
    int err = OK;
    for (size_t i = 0; i < o->initial_cluster_count; i++) {
        const char *name = o->initial_cluster[i].name;
        bool is_first = true;
        for (size_t j = 0; j < i; j++)
            is_first = is_first && strcmp(o->initial_cluster[j].name, name) != 0;
        if (!is_first)
            continue;
        size_t count = urls_of(o, name, urls);
        uint64_t id = identity_member_id(urls, count, o->initial_cluster_token);
        ids[id_count++] = id;
        member_set(&kv->members, id, urls, count, false);
        if (strcmp(name, own_name) == 0)
            kv->member_id = id;
        member_set_attributes(member_find(&kv->members, id), name, NULL, 0);
    }
    struct raft_ids distinct = {0};
    for (size_t i = 0; i < id_count; i++)
        raft_ids_add(&distinct, ids[i]);
    if (kv->member_id == 0) {
        snprintf(error, error_size, "couldn't find local name \"%s\" in the initial cluster configuration",
                 own_name);
        err = ERR_INVALID;
    } else if (id_count > RAFT_MEMBERS_MAX || distinct.count < id_count) {
        snprintf(error, error_size, "the initial cluster names %zu members, %s", id_count,
                 id_count > RAFT_MEMBERS_MAX ? "more than a cluster can have"
                                             : "some with the same peer URLs");
        err = ERR_INVALID;
    } else if (id_count > 1 && !o->peers) {
        snprintf(error, error_size, "the initial cluster names %zu members, but this one stays alone",
                 id_count);
        err = ERR_INVALID;
    }
    kv->cluster_id = identity_cluster_id(ids, id_count);
    mem_free(ids);
    mem_free(urls);
    return err;
}

static void save_identity(struct kv *kv)
{
    uint8_t identity[SNAPSHOT_IDENTITY_SIZE];
    put_be64(identity, kv->cluster_id);
    put_be64(identity + 8, kv->member_id);
    store_set(kv->store, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY),
              slice_of(identity, sizeof identity));
}

/* The bootstrap entry: every member of the cluster starts from the same one, for all derive it from the same
 * flags. */
static void write_bootstrap(struct kv *kv)
{
    struct raft_conf_state conf = {0};
    store_begin(kv->store, BOOTSTRAP_INDEX, BOOTSTRAP_TERM);
    save_identity(kv);
    for (size_t i = 0; i < kv->members.count; i++) {
        (void)raft_ids_add(&conf.voters, kv->members.list[i].id); /* derive_identity has counted them */
        member_save(&kv->members.list[i], kv->store);
    }
    conf_store_save(kv->store, &conf);
    store_end(kv->store);
}

/* --- restart ----------------------------------------------------------------------------------------- */

bool kv_restore_lease(void *arg, struct slice key, struct slice value)
{
    if (key.size == 8 && value.size == 16)
        lease_restore(arg, (int64_t)get_be64(key.data), (int64_t)get_be64(value.data),
                      (int64_t)get_be64(value.data + 8));
    return true;
}

static int load_side_tables(struct kv *kv)
{
    int err = members_load(&kv->members, kv->store);
    if (!err)
        err = alarms_load(&kv->alarms, kv->store);
    if (!err)
        err = kv_auth_load(kv);
    return err ? err : kv_feature_load(kv);
}

static int load_identity(struct kv *kv, char *error, size_t error_size)
{
    struct slice value;
    int err = store_get(kv->store, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY), &kv->arena, &value);
    if (err || value.size != 16) {
        snprintf(error, error_size, "%s: the store has no identity; it was not written by this program",
                 kv->settings.data_dir);
        return ERR_CORRUPT;
    }
    kv->cluster_id = get_be64(value.data);
    kv->member_id = get_be64(value.data + 8);
    return OK;
}

/* --- events of the node and the store ---------------------------------------------------------------- */

static void set_slow_gauges(struct kv *kv)
{
    struct store_sizes sizes = store_sizes(kv->store);
    struct watch_counts counts = watch_counts(kv->hub);
    metric_set(METRIC_DB_SIZE, (double)sizes.file);
    metric_set(METRIC_DB_IN_USE, (double)sizes.in_use);
    metric_set(METRIC_STORE_LIVE_BYTES, (double)store_live_size(kv->store));
    metric_set(METRIC_DEFRAG_BYTES, (double)store_defrag_progress(kv->store).bytes);
    metric_set(METRIC_KEYS, (double)sizes.keys);
    metric_set(METRIC_CURRENT_REVISION, (double)store_revision(kv->store));
    metric_set(METRIC_COMPACT_REVISION, (double)store_compact_revision(kv->store));
    metric_set(METRIC_AUTH_REVISION, (double)kv_auth_revision(kv));
    metric_set(METRIC_WATCH_STREAMS, (double)counts.streams);
    metric_set(METRIC_WATCHERS, (double)counts.watchers);
    metric_set(METRIC_WATCH_BYTES, (double)counts.watchers_bytes);
    metric_set(METRIC_SLOW_WATCHERS, (double)counts.unsynced);
}

static void set_alarms(const struct kv *kv)
{
    metric_family_clear(FAMILY_ALARMS);
    for (size_t i = 0; i < kv->alarms.count; i++) {
        const Etcdserverpb__AlarmMember *a = &kv->alarms.list[i];
        bool is_space = a->alarm == ETCDSERVERPB__ALARM_TYPE__NOSPACE;
        char labels[80];
        snprintf(labels, sizeof labels, "alarm_type=\"%s\",server_id=\"%" PRIx64 "\"",
                 is_space ? "NOSPACE" : "CORRUPT", a->memberid);
        metric_series_set(metric_series_get(FAMILY_ALARMS, labels), 1);
    }
}

static void collect_metrics(void *arg, struct buf *out)
{
    (void)out;
    set_slow_gauges(arg);
    set_alarms(arg);
}

bool kv_is_closing(const struct kv *kv)
{
    return kv->lifecycle.is_closing;
}

void kv_set_failed(struct kv *kv, int err)
{
    kv->lifecycle.failed_err = err;
}

int kv_failure(const struct kv *kv)
{
    return kv->lifecycle.failed_err;
}

static void on_failed(void *arg, int err)
{
    kv_set_failed(arg, err);
}

static void on_durable(void *arg, uint64_t applied_index)
{
    struct kv *kv = arg;
    uint64_t index = kv_log_needed(kv, applied_index),
             archive_index = kv_archive_log_needed(kv, applied_index);
    node_release(kv->node, index < archive_index ? index : archive_index);
}

static void kv_open_on_change(void *arg, const struct store_change *change)
{
    watch_deliver(((struct kv *)arg)->hub, change);
}

void kv_listen_to_store(struct kv *kv)
{
    store_on_change(kv->store, kv_open_on_change, kv);
    store_on_durable(kv->store, on_durable, kv);
    kv_archive_listen(kv);
}

/* A watch stream has drained and needs events: another turn. */
static void on_watch_work(void *arg)
{
    kv_schedule_turn(arg);
}

/* --- opening ----------------------------------------------------------------------------------------- */

static struct kv *new_kv(const struct kv_options *o)
{
    struct kv *kv = mem_new(sizeof *kv);
    kv->io = o->io;
    kv->settings.data_dir = mem_string(o->data_dir);
    kv->settings.member_dir = join_path(o->data_dir, "member");
    kv->settings.name = mem_string(o->name);
    kv->settings.client_url_count = o->client_url_count;
    kv->settings.client_urls = mem_new((o->client_url_count + 1) * sizeof(char *));
    for (size_t i = 0; i < o->client_url_count; i++)
        kv->settings.client_urls[i] = mem_string(o->client_urls[i]);
    kv->settings.request_bytes_max = o->request_bytes_max;
    kv->settings.txn_ops_max = o->txn_ops_max;
    kv->settings.election_ms = o->election_ms;
    kv->settings.quota_bytes = o->quota_bytes == 0 ? QUOTA_DEFAULT : o->quota_bytes < 0 ? 0 : o->quota_bytes;
    uint64_t now_ms = kv_now_ms(kv);
    kv->settings.check_interval_ms = o->corrupt_check_interval_ms;
    kv->settings.limit_ms = 5000 + 2 * o->election_ms;
    kv->settings.log_disk_bytes_max = o->snapshot_catchup_disk_bytes;
    kv->peers = o->peers;
    kv->settings.learners_max = o->max_learners == 0                 ? 1
                                : o->max_learners < 0                ? 0
                                : o->max_learners > RAFT_MEMBERS_MAX ? RAFT_MEMBERS_MAX
                                                                     : (unsigned)o->max_learners;
    kv->settings.slow_apply_ns = o->slow_apply_ns ? o->slow_apply_ns : SLOW_APPLY_NS;
    kv->settings.strict_reconfig = o->strict_reconfig_check;
    kv->settings.promotes_learners = o->promotes_learners;
    kv->settings.requires_peer_proof = o->requires_peer_proof;
    kv->settings.slice_units = o->slice_units;
    uint64_t wall_ms = o->io->ops->wall_ns(o->io) / 1000000;
    uint64_t first_number = wall_ms << 20 | (o->io->ops->random(o->io) >> 44 | 1);
    kv_turn_init(&kv->turn, now_ms);
    kv_requests_init(&kv->requests, first_number);
    kv_read_index_init(&kv->read_index);
    kv_leader_calls_init(&kv->leader_calls, first_number);
    kv_sliced_apply_init(&kv->sliced_apply);
    kv_leadership_init(&kv->leadership, o->advances_ticks ? now_ms + ADVANCE_MS : 0);
    kv_hand_over_init(&kv->hand_over);
    kv_lease_rights_init(&kv->lease_rights);
    kv_auth_init(&kv->auth, o->auth_token_ttl_ms ? o->auth_token_ttl_ms : AUTH_TOKEN_TTL_MS);
    kv_state_check_init(&kv->state_check, now_ms);
    kv_member_rpc_open(kv, first_number);
    kv_feature_open(kv, feature_level_here(o->feature_level));
    kv_exports_init(&kv->exports, o->max_snapshots);
    kv_defrag_init(&kv->defrag);
    kv_bootstrap_init(&kv->bootstrap);
    metric_set(METRIC_QUOTA, (double)kv->settings.quota_bytes);
    return kv;
}

/* etcd's minimum: one and a half election timeouts, in whole seconds. */
static int64_t lease_min_ttl_s(uint64_t election_ms)
{
    return (int64_t)((3 * election_ms / 2 + 999) / 1000);
}

static uint64_t map_size_of(const struct kv *kv)
{
    bool is_large = kv->settings.quota_bytes > 0 && (uint64_t)kv->settings.quota_bytes > STORE_MAP_BYTES / 4;
    return is_large ? (uint64_t)kv->settings.quota_bytes * 4 : STORE_MAP_BYTES;
}

static int open_store(struct kv *kv, const struct kv_options *o, const char *path, char *error,
                      size_t error_size)
{
    struct backend *backend;
    uint64_t map_size = map_size_of(kv);
    int err = o->backend_open ? o->backend_open(o->io, path, map_size, error, error_size, &backend)
                              : backend_lmdb_open(path, map_size, error, error_size, &backend);
    if (err)
        return err;
    kv->leases = lease_table_new(lease_min_ttl_s(o->election_ms));
    if (o->lease_checkpoint_ms)
        lease_table_set_checkpoint_interval(kv->leases, o->lease_checkpoint_ms);
    /* Leases first: the store attaches keys to them while it rebuilds its index. */
    struct backend_view *view;
    err = backend->ops->view_open(backend, &view);
    if (!err) {
        err = backend->ops->scan(view, BACKEND_LEASES, (struct slice){0}, kv_restore_lease, kv->leases);
        backend->ops->view_close(backend, view);
    }
    if (err) {
        backend->ops->close(backend);
        snprintf(error, error_size, "%s: cannot read the leases: %s", path, err_text(err));
        return err;
    }
    struct store_options options = {
        .io = o->io,
        .backend = backend,
        .leases = kv->leases,
        .commit_interval_ms = o->commit_interval_ms,
        .commit_ops = o->commit_ops,
        .pending_bytes_max = o->store_pending_bytes,
        .cache_budget = o->cache_budget,
        .compaction_batch = o->compaction_batch,
        .compaction_sleep_ms = o->compaction_sleep_ms,
        .max_txn_ops = o->txn_ops_max,
        .long_units = o->long_units,
    };
    err = store_open(&options, error, error_size, &kv->store);
    if (err)
        return err;
    options.backend = NULL;
    kv_snapshot_set_store(kv, &options);
    store_attach_leases(kv->store);
    err = load_side_tables(kv);
    if (err == ERR_LEVEL)
        snprintf(error, error_size, "%s: %s", kv->settings.data_dir, kv_feature_text(kv));
    return err;
}

static void take_join(struct kv *kv, const struct kv_join *join)
{
    kv->cluster_id = join->cluster_id;
    kv->member_id = join->member_id;
    for (size_t i = 0; i < join->member_count; i++)
        member_set(&kv->members, join->members[i].id, join->members[i].peer_urls,
                   join->members[i].peer_url_count, false);
}

/* Decides between first start, unfinished first start and restart; see the top of this file. */
static int settle_identity(struct kv *kv, const struct kv_options *o, struct node_options *node, char *error,
                           size_t error_size)
{
    bool has_wal;
    int err = node_exists(o->io, node->wal_dir, &has_wal);
    if (err) {
        snprintf(error, error_size, "%s: cannot look for a log there: %s", node->wal_dir, err_text(err));
        return err;
    }
    bool has_store = store_applied_index(kv->store) > 0;
    if (has_store && !has_wal) {
        snprintf(error, error_size,
                 "%s holds a store but %s holds no log: the member must not go on under its old identity; "
                 "restore the log, "
                 "or remove the member and start with an empty folder",
                 kv->settings.data_dir, node->wal_dir);
        return ERR_CORRUPT;
    }
    if (has_store)
        return load_identity(kv, error, error_size);
    if (o->join) {
        take_join(kv, o->join);
        node->is_new = !has_wal;
        node->joins = true;
        return OK;
    }
    err = derive_identity(kv, o, error, error_size);
    if (err)
        return err;
    /* The store commits this in a later turn, when the WAL is there. */
    write_bootstrap(kv);
    node->is_new = !has_wal;
    if (!has_wal)
        log_info("first start: making a new log", F_HEX("cluster-id", kv->cluster_id),
                 F_HEX("member-id", kv->member_id));
    return OK;
}

/* Before anything is written: a member that joins is refused without a log, so that it can start anew. */
static int check_learners(const struct kv *kv, const struct kv_options *o, bool is_joining, char *error,
                          size_t error_size)
{
    size_t count = is_joining ? 0 : members_count_learners(&kv->members, 0);
    for (size_t i = 0; is_joining && i < o->join->member_count; i++)
        count += o->join->members[i].is_learner;
    if (!o->limits_learners_at_start || count <= kv->settings.learners_max)
        return OK;
    snprintf(error, error_size,
             "membership: too many learner members in cluster: %zu; --max-learners is %u. Give each member a "
             "higher value, or promote or remove learners",
             count, kv->settings.learners_max);
    return ERR_TOO_MANY_LEARNERS;
}

static bool may_apply(void *arg)
{
    return !store_is_full(((const struct kv *)arg)->store);
}

static int open_node(struct kv *kv, const struct kv_options *o, const char *wal_dir, char *error,
                     size_t error_size)
{
    struct node_options options = {
        .io = o->io,
        .peers = o->peers,
        .wal_dir = wal_dir,
        .wal_segment_bytes = o->wal_segment_bytes,
        .heartbeat_ms = o->heartbeat_ms,
        .election_ms = o->election_ms,
        .entry_bytes_max = o->request_bytes_max + FRAGMENT_SLACK,
        .pending_bytes_max = o->pending_bytes_max ? o->pending_bytes_max : KV_PENDING_BYTES_MAX,
        .catchup_entries = o->snapshot_catchup_entries,
        .log_bytes_max = o->snapshot_catchup_bytes,
        .disk_bytes_max = o->snapshot_catchup_disk_bytes,
        .proposal_wait_ms = kv->settings.limit_ms,
        .pre_vote = o->pre_vote,
        .apply = kv_apply,
        .will_apply = kv_will_apply,
        .read_done = kv_read_done,
        .may_apply = may_apply,
        .is_internal = kv_is_internal,
        .refused = kv_on_refused,
        .hand_over = kv_on_hand_over,
        .state_changed = kv_on_state,
        .failed = on_failed,
        .send_snapshot = kv_send_snapshot,
        .install = kv_install,
        .arg = kv,
    };
    int err = settle_identity(kv, o, &options, error, error_size);
    if (!err)
        err = check_learners(kv, o, options.joins, error, error_size);
    if (err)
        return err;
    struct raft_conf_state conf_state = {0};
    if (!options.joins)
        err = conf_store_load(kv->store, &conf_state);
    if (err) {
        snprintf(error, error_size, "%s: the store has no cluster configuration", kv->settings.data_dir);
        return err;
    }
    if (o->force_new_cluster && !options.is_new && !options.joins) {
        log_warn("forcing a cluster of this member alone", F_HEX("member-id", kv->member_id));
        conf_state = (struct raft_conf_state){.voters = {.count = 1, .id = {kv->member_id}}};
        options.force_alone = true;
        kv_force_alone(kv);
    }
    options.member_id = kv->member_id;
    options.cluster_id = kv->cluster_id;
    options.applied_index = store_applied_index(kv->store);
    options.applied_term = store_applied_term(kv->store);
    options.conf_state = &conf_state;
    err = node_open(&options, error, error_size, &kv->node);
    if (!err)
        kv->state = *node_state(kv->node);
    return err;
}

static void free_kv(struct kv *kv)
{
    kv_sliced_apply_end(kv);
    if (kv->hub)
        watch_hub_free(kv->hub);
    if (kv->store)
        store_close(kv->store);
    if (kv->leases)
        lease_table_free(kv->leases);
    if (kv->lifecycle.lock)
        kv->io->ops->close(kv->io, kv->lifecycle.lock);
    members_done(&kv->members);
    alarms_done(&kv->alarms);
    kv_auth_done(&kv->auth);
    kv_lease_rights_done(&kv->lease_rights);
    kv_leadership_done(&kv->leadership);
    arena_done(&kv->arena);
    kv_requests_done(&kv->requests);
    kv_leader_calls_done(&kv->leader_calls);
    kv_peer_events_done(&kv->peer_events);
    kv_archive_done(&kv->archive);
    for (size_t i = 0; i < kv->settings.client_url_count; i++)
        mem_free(kv->settings.client_urls[i]);
    mem_free(kv->settings.client_urls);
    mem_free(kv->settings.data_dir);
    mem_free(kv->settings.member_dir);
    mem_free(kv->settings.name);
    mem_free(kv);
}

static int take_folder(struct kv *kv, const char *member_dir, char *error, size_t error_size)
{
    char *path = join_path(member_dir, "LOCK");
    int err = kv->io->ops->lock(kv->io, path, &kv->lifecycle.lock);
    if (err == ERR_EXISTS)
        snprintf(error, error_size, "%s is in use by another process", kv->settings.data_dir);
    else if (err)
        snprintf(error, error_size, "cannot lock %s: %s", path, err_text(err));
    mem_free(path);
    return err;
}

/* Opening failed: nothing is committed, least of all a bootstrap without its log. */
static void abandon(struct kv *kv)
{
    if (kv->store) {
        struct backend *backend = store_discard(kv->store);
        backend->ops->close(backend);
        kv->store = NULL;
    }
    free_kv(kv);
}

int kv_open(const struct kv_options *o, char *error, size_t error_size, struct kv **ret_kv)
{
    struct kv *kv = new_kv(o);
    const char *member_dir = kv->settings.member_dir;
    char *store_path = join_path(member_dir, "store");
    char *wal_dir = o->wal_dir && *o->wal_dir ? mem_string(o->wal_dir) : join_path(member_dir, "wal");
    int err = o->io->ops->mkdir(o->io, member_dir);
    if (err)
        snprintf(error, error_size, "cannot make the data folder %s: %s", member_dir, err_text(err));
    else
        err = take_folder(kv, member_dir, error, error_size);
    if (!err)
        err = kv_snapshot_recover(kv, o, map_size_of(kv), wal_dir, error, error_size);
    if (!err)
        err = open_store(kv, o, store_path, error, error_size);
    if (!err)
        err = open_node(kv, o, wal_dir, error, error_size);
    if (err) {
        abandon(kv);
        goto out;
    }
    struct watch_options watch = {
        .store = kv->store,
        .watchers_bytes_max = o->watch_bytes_max,
        .response_bytes_max = o->request_bytes_max + FRAGMENT_SLACK,
        .progress_interval_ms = o->progress_interval_ms,
        .on_work = on_watch_work,
        .on_work_arg = kv,
    };
    kv->hub = watch_hub_new(&watch);
    kv_leadership_open(kv, o);
    kv_listen_to_store(kv);
    metric_collector_add(collect_metrics, kv);
    kv_turn_open(kv);
    if (kv->peers) {
        kv_snapshot_open(kv, o);
        kv_peers_announce(kv);
    }
    kv_defrag_at_start(kv, o->defrag_at_start_mb);
    arena_reset(&kv->arena);
    *ret_kv = kv;
out:
    mem_free(store_path);
    mem_free(wal_dir);
    return err;
}

/* --- closing ----------------------------------------------------------------------------------------- */

static void on_node_closed(void *arg)
{
    struct kv *kv = arg;
    void (*done)(void *) = kv->lifecycle.on_closed;
    void *done_arg = kv->lifecycle.on_closed_arg;
    free_kv(kv);
    done(done_arg);
}

void kv_close(struct kv *kv, void (*done)(void *arg), void *arg)
{
    kv->lifecycle.is_closing = true;
    kv_exports_close(kv);
    kv_stop_proposals(kv);
    kv_read_index_stop(kv);
    kv_lease_rights_stop(kv);
    kv_stop_waiting(kv);
    kv_leader_calls_stop(kv);
    kv_hand_over_stop(kv);
    kv_sliced_apply_stop(kv);
    kv_defrag_stop(kv);
    kv_feature_close(kv);
    kv_member_rpc_close(kv);
    kv_bootstrap_close(kv);
    kv_peer_listing_close(kv);
    if (kv->peers)
        kv->peers->ops->set_events(kv->peers, NULL, NULL);
    kv_snapshot_close(kv);
    metric_collector_remove(collect_metrics, kv);
    kv_turn_close(kv);
    kv->lifecycle.on_closed = done;
    kv->lifecycle.on_closed_arg = arg;
    node_close(kv->node, on_node_closed, kv);
}
