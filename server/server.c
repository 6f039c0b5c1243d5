/* SPDX-License-Identifier: Apache-2.0
 * The life of the process, from start to stop.
 *
 *   start:  log -> io -> peer port -> bootstrap [queries the other members] -> kv_open -> registry, config ->
 *           rpc, grpc, http -> metrics ports -> [kv and views ready] -> client ports, DNS, READY=1
 *   stop:   signal -> client ports closed -> [leadership transferred] -> GOAWAY, watches end ->
 *           [calls done, or 5 s] -> grpc, http, dns stop -> registry, config freed -> kv_close ->
 *           peer port closed -> loop empty
 *
 * A turn of the loop:
 *   1. Callbacks handle the events of sockets, workers and timers.
 *   2. Just before the loop sleeps (uv_prepare), run_turn moves everything once: the store, the streams, the
 *      writes. So no event of a turn waits for the next event.
 *
 * Client ports open only when requests can be served, as in etcd. */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "base/cache_budget.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/net/tls.h"
#include "base/text.h"
#include "consensus/peer/peer_tcp.h"
#include "config/config.h"
#include "config/seal/keys.h"
#include "consensus/idempotency.h"
#include "consensus/write_limits.h"
#include "registry/registry.h"
#include "server/api/api.h"
#include "server/audit_log.h"
#include "server/auth/guard.h"
#include "server/backup.h"
#include "server/data_dir.h"
#include "server/discovery.h"
#include "server/dns/dns_server.h"
#include "server/facts.h"
#include "server/http/carrier.h"
#include "server/http/console/console.h"
#include "server/limits.h"
#include "server/listen.h"
#include "server/memory_release.h"
#include "server/naming.h"
#include "server/notify.h"
#include "server/peering.h"
#include "server/probe/probe.h"
#include "server/stream/stream.h"
#include "server/turn_watch.h"
#include "server/version.h"
#include "server/views.h"

enum {
    DRAIN_MS = 5000,
    NS_PER_MS = 1000000,
    CONNECTIONS_NEW_MAX = 4096, /* accepted, protocol not known yet */
    LISTENERS_MAX = 192,
    PROGRESS_MS_MIN = 100,
};

enum server_state {
    SERVER_BOOTING,  /* the bootstrap finds out which member this is; there is no store yet */
    SERVER_STARTING, /* the store is open, requests cannot be served yet */
    SERVER_SERVING,
    SERVER_LEAVING,  /* no new connections; leadership is being transferred */
    SERVER_DRAINING, /* running calls may end */
    SERVER_STOPPING, /* front ends close, then the store */
    SERVER_STOPPED,
};

struct server {
    struct options *options;
    struct cache_budget cache_budget;
    enum server_state state;
    int exit_code;
    uv_loop_t loop;
    struct io *io;
    struct peers *peers;
    struct boot *boot;
    struct kv *kv;
    struct backup *backup; /* NULL: no --backup-dir */
    struct identity *identity;
    uint64_t rights; /* guard_log_anonymous */
    struct namespaces *namespaces;
    struct idempotency *idempotency;
    struct registry *registry;
    struct prober *prober;
    struct config *config;
    struct write_limits *write_limits;
    struct audit_log *audit;
    struct api *api;
    bool is_kv_ready, has_users; /* the last value that was logged (peering.h) */
    struct stream_server *stream;
    struct rpc_server rpc;
    struct limits limits;
    struct grpc_server *grpc;
    struct http_server *http;
    struct dns_server *dns; /* NULL: not enabled */
    struct naming naming;
    struct tls_context *tls;
    struct listener *listeners[LISTENERS_MAX];
    size_t listener_count, connections_max;
    unsigned open_front_ends;
    char *cert_file, *key_file; /* given, or made by --auto-tls */
    char error[1024];
    struct memory_release memory;
    struct turn_watch turns;
    /* Handles; closed in close_handles. */
    uv_prepare_t turn;
    uv_check_t woken; /* begins a turn without a named work */
    uv_idle_t again;  /* active while there is more to do: keeps the loop from sleeping */
    uv_timer_t tick, drain;
    uv_signal_t term, interrupt, hangup;
};

static void serve_clients(struct server *s);
static void stop_front_ends(struct server *s);
static void shut_down(struct server *s, int exit_code);

/* --- the turn ----------------------------------------------------------------------------------------- */
static void server_on_again(uv_idle_t *handle)
{
    (void)handle;
}

/* Walks over all connections: only used while the server drains. */
static bool is_drained(const struct server *s)
{
    return s->rpc.calls == 0 &&
           (!s->http || (!http_server_waiting(s->http) && !http_server_is_closing(s->http)));
}

static void on_woken(uv_check_t *handle)
{
    (void)handle;
    turn_enter(TURN_UNNAMED);
    turn_watch_wake();
}

static void run_turn(struct server *s)
{
    if (!s->kv)
        return;
    uint64_t store_requests = s->rpc.store_requests;
    kv_turn(s->kv);
    turn_enter(TURN_BACKUP);
    backup_turn(s->backup);
    turn_enter(TURN_OTHER);
    write_limits_turn(s->write_limits);
    audit_log_turn(s->audit);
    if (s->namespaces)
        namespaces_turn(s->namespaces);
    idempotency_turn(s->idempotency);
    if (s->registry)
        registry_turn(s->registry);
    if (s->config)
        config_turn(s->config);
    turn_enter(TURN_API_POLLS);
    bool has_more = s->api && api_turn(s->api);
    turn_enter(TURN_OTHER);
    guard_log_anonymous(s->identity, s->registry, &s->rights);
    int err = kv_failed(s->kv);
    if (err)
        log_fatal("the store cannot go on", F_STR("reason", kv_failed_at(s->kv)), F_ERR(err),
                  F_STR("data-dir", s->options->dir), F_STR("wal-dir", s->options->wal_dir));
    if (kv_is_removed(s->kv) && s->state < SERVER_LEAVING) {
        log_warn("the member has been permanently removed from the cluster; its data folder must be removed",
                 F_HEX("member-id", kv_member_id(s->kv)), F_STR("data-dir", s->options->dir));
        shut_down(s, 0);
    }
    if (s->has_users != kv_auth_is_enabled(s->kv)) {
        s->has_users = !s->has_users;
        if (s->has_users)
            peering_warn_unproved(s->options, true);
    }
    uint64_t received = s->rpc.received;
    turn_enter(TURN_RPC_STREAMS);
    has_more |= rpc_server_turn(&s->rpc);
    turn_enter(TURN_STREAM_DELIVER);
    if (s->stream)
        has_more |= stream_server_turn(s->stream);
    turn_enter(TURN_GRPC_WRITE);
    if (s->grpc)
        grpc_server_flush(s->grpc);
    has_more |= limits_turn(&s->limits) || turn_queue_is_waiting();
    turn_enter(TURN_MEMORY_RELEASE);
    cache_budget_trim(&s->cache_budget);
    turn_enter(TURN_OTHER);
    /* Sending may admit a message of a client that was held back. Such a message has not met kv_turn yet,
     * nor has a request to the store that a call made by itself. */
    if (has_more || received != s->rpc.received || store_requests != s->rpc.store_requests)
        uv_idle_start(&s->again, server_on_again);
    else
        uv_idle_stop(&s->again);
    if (s->state == SERVER_STARTING && s->is_kv_ready && registry_is_ready(s->registry) &&
        config_is_ready(s->config) && namespaces_is_ready(s->namespaces))
        serve_clients(s);
    if (s->state == SERVER_DRAINING && is_drained(s))
        stop_front_ends(s);
}

static void server_on_turn(uv_prepare_t *handle)
{
    struct server *s = handle->data;
    turn_enter(TURN_OTHER);
    bool is_served = s->state > SERVER_STARTING;
    run_turn(s);
    if (!is_served) /* a log is made and synced, or replayed: no client is connected */
        turn_discard();
    else
        turn_watch_end_turn(&s->turns);
}

static void on_tick(uv_timer_t *handle)
{
    struct server *s = handle->data;
    turn_enter(TURN_TIMER);
    if (s->state >= SERVER_STOPPING)
        return;
    if (s->kv)
        rpc_server_tick(&s->rpc);
    turn_enter(TURN_MEMORY_RELEASE);
    memory_release_tick(&s->memory, s->rpc.received, s->grpc ? grpc_server_connections(s->grpc) : 0);
    turn_enter(TURN_TIMER);
    if (s->tls)
        tls_context_refresh(s->tls, clock_mono_ms());
}

/* --- stopping ------------------------------------------------------------------------------------------ */
static void close_handles(struct server *s)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&s->turn,      (uv_handle_t *)&s->woken,
                              (uv_handle_t *)&s->again,     (uv_handle_t *)&s->tick,
                              (uv_handle_t *)&s->drain,     (uv_handle_t *)&s->term,
                              (uv_handle_t *)&s->interrupt, (uv_handle_t *)&s->hangup};
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
        if (!uv_is_closing(handles[i]))
            uv_close(handles[i], NULL);
}

static void on_peers_closed(void *arg)
{
    struct server *s = arg;
    s->peers = NULL;
    s->state = SERVER_STOPPED;
    if (s->io)
        io_real_free(s->io);
    s->io = NULL;
    close_handles(s);
}

static void on_kv_closed(void *arg)
{
    struct server *s = arg;
    s->kv = NULL;
    if (s->peers)
        peer_tcp_close(s->peers, on_peers_closed, s);
    else
        on_peers_closed(s);
}

static void on_front_end_stopped(void *arg)
{
    struct server *s = arg;
    if (--s->open_front_ends > 0)
        return;
    api_free(s->api);
    s->api = NULL;
    stream_server_free(s->stream);
    s->stream = NULL;
    registry_free(s->registry);
    s->registry = NULL;
    prober_free(s->prober);
    config_free(s->config);
    namespaces_free(s->namespaces);
    s->namespaces = NULL;
    idempotency_free(s->idempotency);
    s->idempotency = NULL;
    write_limits_free(s->write_limits);
    audit_log_close(s->audit);
    s->audit = NULL;
    s->write_limits = NULL;
    s->config = NULL;
    identity_free(s->identity);
    s->identity = NULL;
    backup_close(s->backup);
    s->backup = NULL;
    if (s->kv)
        kv_close(s->kv, on_kv_closed, s);
    else
        on_kv_closed(s);
}

static void on_grpc_stopped(void *arg)
{
    ((struct server *)arg)->grpc = NULL;
    on_front_end_stopped(arg);
}

static void on_http_stopped(void *arg)
{
    ((struct server *)arg)->http = NULL;
    on_front_end_stopped(arg);
}

static void on_dns_stopped(void *arg)
{
    ((struct server *)arg)->dns = NULL;
    on_front_end_stopped(arg);
}

static void stop_front_ends(struct server *s)
{
    if (s->state >= SERVER_STOPPING)
        return;
    s->state = SERVER_STOPPING;
    metric_collector_remove(facts_collect, s->kv);
    uv_timer_stop(&s->drain);
    if (s->rpc.calls)
        log_warn("calls did not end in time and are canceled", F_UINT("calls", s->rpc.calls));
    s->open_front_ends = 1 + (s->grpc != NULL) + (s->http != NULL) + (s->dns != NULL);
    if (s->grpc)
        grpc_server_stop(s->grpc, on_grpc_stopped, s);
    if (s->http)
        http_server_stop(s->http, on_http_stopped, s);
    if (s->dns)
        dns_server_stop(s->dns, on_dns_stopped, s);
    on_front_end_stopped(s);
}

static void on_drain_end(uv_timer_t *handle)
{
    turn_enter(TURN_TIMER);
    stop_front_ends(handle->data);
}

static void close_listeners(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++)
        listener_close(s->listeners[i]);
    s->listener_count = 0;
}

static void drain(void *arg)
{
    struct server *s = arg;
    s->state = SERVER_DRAINING;
    rpc_server_drain(&s->rpc);
    if (s->grpc)
        grpc_server_drain(s->grpc);
    if (s->http)
        http_server_drain(s->http);
    uv_timer_start(&s->drain, on_drain_end, DRAIN_MS, 0);
}

/* Ends the process in order; exit_code stays the first that was set. Leadership is transferred first,
 * while running requests can still be answered, so that no client waits for an election. */
static void shut_down(struct server *s, int exit_code)
{
    if (s->state >= SERVER_LEAVING)
        return;
    log_info("closing etcd server", F_STR("name", s->options->name), F_STR("data-dir", s->options->dir));
    s->state = SERVER_LEAVING;
    s->exit_code = exit_code;
    notify_systemd("STOPPING=1");
    close_listeners(s);
    if (s->boot)
        boot_cancel(s->boot);
    s->boot = NULL;
    if (s->kv)
        kv_hand_over(s->kv, drain, s);
    else
        stop_front_ends(s);
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    const char *name = number == SIGTERM ? "terminated" : "interrupt";
    turn_enter(TURN_OTHER);
    if (s->state >= SERVER_LEAVING) {
        log_warn("received a second signal; exiting at once", F_STR("signal", name));
        _exit(1);
    }
    log_info("received signal; shutting down", F_STR("signal", name));
    shut_down(s, 0);
}

/* SIGHUP: log files were moved away, or certificates or tokens renewed. */
static void on_hangup(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    (void)number;
    const struct options *o = s->options;
    turn_enter(TURN_OTHER);
    if (log_open(o->log_outputs, (unsigned)o->log_rotate_mb, (unsigned)o->log_backups) == 0)
        log_info("reopened the log");
    if (s->tls)
        tls_context_refresh(s->tls, clock_mono_ms());
    peering_reload(s->options, s->peers);
}

/* --- listening ------------------------------------------------------------------------------------------ */
/* True if the list has the same address with the other scheme: http and https, unix and unixs. */
static bool has_twin(const struct text_list *urls, size_t i, size_t count)
{
    const char *address = strstr(urls->items[i], "://");
    bool is_unix = strncmp(urls->items[i], "unix", 4) == 0;
    for (size_t j = 0; j < count; j++)
        if (j != i && strcmp(strstr(urls->items[j], "://"), address) == 0 &&
            (strncmp(urls->items[j], "unix", 4) == 0) == is_unix)
            return true;
    return false;
}

/* Two schemes of one address share its socket: the first bytes of a connection tell which it is. */
static int listen_on(struct server *s, const struct text_list *urls, enum listen_serves serves)
{
    for (size_t i = 0; i < urls->count; i++) {
        if (has_twin(urls, i, i))
            continue;
        struct listen_options options = {
            .loop = &s->loop,
            .url = urls->items[i],
            .grpc = s->grpc,
            .http = s->http,
            .tls = s->tls,
            .serves = serves,
            .allow_both = has_twin(urls, i, urls->count),
            .reuse_port = s->options->reuse_port,
            .reuse_address = s->options->reuse_address,
            .connections_max = CONNECTIONS_NEW_MAX,
            .sources = &s->limits.sources,
        };
        int err = listener_open(&options, s->error, sizeof s->error, &s->listeners[s->listener_count]);
        if (err)
            return err;
        s->listener_count++;
    }
    return 0;
}

static void server_on_ready(void *arg)
{
    ((struct server *)arg)->is_kv_ready = true;
}

/* Opens the client ports once requests can be answered: an empty list of instances must never be the
 * answer of a view that is not ready. */
static void serve_clients(struct server *s)
{
    const struct options *o = s->options;
    bool is_split = o->listen_http.count > 0;
    int err = listen_on(s, &o->listen_client, is_split ? LISTEN_GRPC_ONLY : LISTEN_ALL);
    if (!err)
        err = listen_on(s, &o->listen_http, LISTEN_HTTP_ONLY);
    s->naming = (struct naming){s->identity, s->registry, &s->limits.output};
    if (!err)
        err = naming_open(o, &s->loop, &s->naming, s->registry, s->error, sizeof s->error, &s->dns);
    if (err) {
        log_error("cannot listen for clients", F_STR("error", s->error));
        shut_down(s, 1);
        return;
    }
    s->state = SERVER_SERVING;
    log_info("ready to serve client requests", F_STR("name", o->name),
             F_HEX("member-id", kv_member_id(s->kv)), F_HEX("cluster-id", kv_cluster_id(s->kv)),
             F_INT("revision", kv_revision(s->kv)));
    listen_log_serving(&o->listen_client, is_split ? "grpc" : "grpc+http");
    listen_log_serving(&o->listen_http, "http");
    if (o->console)
        log_info("serving the web console",
                 F_STR("url", (is_split ? &o->listen_http : &o->listen_client)->items[0]),
                 F_STR("path", "/ui/"));
    if (s->dns)
        log_info("serving DNS", F_STR("address", o->listen_dns), F_STR("zone", o->dns_zone));
    notify_systemd("READY=1");
}

/* --- starting ------------------------------------------------------------------------------------------- */
static char *join(const char *dir, const char *name)
{
    struct buf b = {0};
    buf_addf(&b, "%s/%s", dir, name);
    char *text = mem_string(buf_text(&b));
    buf_done(&b);
    return text;
}

/* The hosts of all client URLs, for a generated certificate. */
static int make_certificate(struct server *s)
{
    const struct options *o = s->options;
    const struct text_list *lists[] = {&o->listen_client, &o->listen_http};
    struct url urls[LISTENERS_MAX];
    const char *hosts[LISTENERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (size_t j = 0; j < lists[i]->count && count < LISTENERS_MAX; j++)
            if (!url_parse(slice_text(lists[i]->items[j]), &urls[count]) &&
                strncmp(urls[count].scheme, "unix", 4) != 0) {
                hosts[count] = urls[count].host;
                count++;
            }
    char *dir = join(o->dir, "fixtures/client");
    int err = s->io->ops->mkdir(s->io, dir);
    if (err)
        snprintf(s->error, sizeof s->error, "cannot make the folder %.300s: %s", dir, err_text(err));
    else
        err = tls_self_signed(dir, hosts, count,
                              (unsigned)(o->cert_validity_years ? o->cert_validity_years : 1), s->error,
                              sizeof s->error);
    s->cert_file = join(dir, "cert.pem");
    s->key_file = join(dir, "key.pem");
    mem_free(dir);
    return err;
}

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static int open_tls(struct server *s)
{
    const struct options *o = s->options;
    int err = 0;
    if (*o->cert_file) {
        if (o->auto_tls)
            log_warn("ignoring client auto TLS since certs given");
        s->cert_file = mem_string(o->cert_file);
        s->key_file = mem_string(o->key_file);
    } else if (o->auto_tls) {
        err = make_certificate(s);
    } else {
        return 0;
    }
    struct tls_options options = {
        .cert_file = s->cert_file,
        .key_file = s->key_file,
        .ca_file = or_null(o->trusted_ca_file),
        .crl_file = or_null(o->client_crl_file),
        .require_client_cert = o->client_cert_auth || *o->trusted_ca_file,
        .allowed_hostname = or_null(o->client_cert_allowed_hostname),
        .cipher_suites = or_null(o->cipher_suites),
        .min_version = or_null(o->tls_min_version),
        .max_version = or_null(o->tls_max_version),
        .alpn = "h2",
    };
    return err ? err : tls_context_new(&options, s->error, sizeof s->error, &s->tls);
}

static uint64_t to_ms(int64_t ns)
{
    return ns <= 0 ? 0 : (uint64_t)(ns + NS_PER_MS - 1) / NS_PER_MS;
}

static uint64_t progress_ms(const struct options *o)
{
    uint64_t ms = o->progress_interval_ns ? to_ms(o->progress_interval_ns) : 600000;
    return ms < PROGRESS_MS_MIN ? PROGRESS_MS_MIN : ms;
}

static int open_kv(struct server *s, const struct kv_join *join)
{
    struct options *o = s->options;
    struct kv_options options = {
        .io = s->io,
        .peers = s->peers,
        .join = join,
        .data_dir = o->dir,
        .wal_dir = or_null(o->wal_dir),
        .name = o->name,
        .initial_name = o->initial_name,
        .initial_cluster_token = o->initial_cluster_token,
        .initial_cluster = o->members,
        .initial_cluster_count = o->member_count,
        .peer_urls = (const char *const *)o->advertise_peer.items,
        .peer_url_count = o->advertise_peer.count,
        .client_urls = (const char *const *)o->advertise_client.items,
        .client_url_count = o->advertise_client.count,
        .heartbeat_ms = o->heartbeat_ms,
        .election_ms = o->election_ms,
        .snapshot_catchup_entries = o->catchup_entries,
        .snapshot_catchup_bytes = o->catchup_bytes,
        .snapshot_catchup_disk_bytes = o->catchup_disk_bytes,
        .watch_bytes_max = o->max_watch_bytes,
        .pending_bytes_max = o->max_pending_bytes,
        .cache_budget = &s->cache_budget,
        .request_bytes_max = o->max_request_bytes,
        .txn_ops_max = o->max_txn_ops,
        .quota_bytes = o->quota_bytes,
        .commit_interval_ms = o->commit_interval_ns ? to_ms(o->commit_interval_ns) : 100,
        .commit_ops = o->commit_ops ? o->commit_ops : 10000,
        .compaction_batch = o->compaction_batch ? o->compaction_batch : 1000,
        .compaction_sleep_ms = o->compaction_sleep_ns ? to_ms(o->compaction_sleep_ns) : 10,
        .auto_compaction_mode = o->compaction_mode,
        .auto_compaction_retention = o->retention,
        .progress_interval_ms = progress_ms(o),
        .defrag_at_start_mb = o->defrag_at_start_mb,
        .force_new_cluster = o->force_new_cluster,
        .pre_vote = o->pre_vote,
        .strict_reconfig_check = o->strict_reconfig_check,
        .advances_ticks = o->advance_ticks,
        .slow_apply_ns = o->warning_apply_ns > 0 ? (uint64_t)o->warning_apply_ns : 1,
        .max_learners = o->max_learners > 0 ? o->max_learners : -1,
        .limits_learners_at_start = true,
        .promotes_learners = o->promote_learners,
        .requires_peer_proof = o->require_peer_proof,
        .snapshot_bytes_per_s = o->snapshot_rate,
        .max_snapshots = o->max_snapshots,
        .auth_token_ttl_ms = o->auth_token_ttl_s * 1000,
        .corrupt_check_interval_ms = o->compare_states_ms,
    };
    return kv_open(&options, s->error, sizeof s->error, &s->kv);
}

static const char *cluster_version(void *arg, struct arena *a)
{
    const struct server *s = arg;
    return s->kv ? kv_cluster_version(s->kv, a) : NULL;
}

static const char *why_not_ready(void *arg)
{
    const struct server *s = arg;
    if (!registry_is_ready(s->registry))
        return "this member has not caught up with the registry";
    if (!config_is_ready(s->config))
        return "this member has not caught up with the config center";
    return namespaces_is_ready(s->namespaces) ? NULL : "this member has not caught up with the namespaces";
}

static int open_identity(struct server *s)
{
    const struct options *o = s->options;
    const struct identity_options options = {
        .loop = &s->loop,
        .kv = s->kv,
        .auth_token = o->auth_token,
        .bcrypt_cost = o->bcrypt_cost,
        .client_cert_auth = o->client_cert_auth,
        .cache_budget = &s->cache_budget,
    };
    return identity_new(&options, s->error, sizeof s->error, &s->identity);
}

static int open_front_ends(struct server *s)
{
    const struct options *o = s->options;
    s->rpc = (struct rpc_server){
        .kv = s->kv,
        .identity = s->identity,
        .on_audit = audit_log_trail(s->audit) ? audit_log_report : NULL,
        .audit_arg = s->audit,
        .mono_ms = clock_mono_ms,
        .request_bytes_max = o->max_request_bytes,
        .txn_ops_max = o->max_txn_ops,
        .slow_call_ns = (uint64_t)(o->warning_unary_ns ? o->warning_unary_ns : 300 * NS_PER_MS),
    };
    rpc_metrics_extensive(strcmp(o->metrics, "extensive") == 0);
    rpc_metrics_start();
    metric_collector_add(facts_collect, s->kv);
    struct grpc_options grpc = {
        .loop = &s->loop,
        .rpc = &s->rpc,
        .request_bytes_max = o->max_request_bytes,
        .streams_max = (uint32_t)o->max_streams,
        .connections_max = s->connections_max,
        .sources = &s->limits.sources,
        .output = &s->limits.output,
        .keepalive_min_ms = to_ms(o->keepalive_min_ns),
        .keepalive_interval_ms = to_ms(o->keepalive_interval_ns),
        .keepalive_timeout_ms = to_ms(o->keepalive_timeout_ns),
    };
    s->grpc = grpc_server_new(&grpc);
    struct tls_options tls = {
        .cert_file = s->cert_file,
        .key_file = s->key_file,
        .ca_file = or_null(o->trusted_ca_file),
        .crl_file = or_null(o->client_crl_file),
        .require_client_cert = o->client_cert_auth || *o->trusted_ca_file,
        .cipher_suites = or_null(o->cipher_suites),
        .min_version = or_null(o->tls_min_version),
        .max_version = or_null(o->tls_max_version),
    };
    struct http_mount mounts[API_MOUNTS + 1 + CONSOLE_MOUNTS];
    const struct api_options api = {.registry = s->registry,
                                    .config = s->config,
                                    .namespaces = s->namespaces,
                                    .idempotency = s->idempotency,
                                    .kv = s->kv,
                                    .audit = audit_log_trail(s->audit),
                                    .identity = s->identity,
                                    .mono_ms = clock_mono_ms,
                                    .mono_ns = clock_mono_ns,
                                    .import_bytes_max = o->config_import_bytes};
    s->api = api_new(&api);
    api_mounts(s->api, mounts);
    struct stream_options stream = {.registry = s->registry,
                                    .config = s->config,
                                    .namespaces = namespaces_view(s->namespaces),
                                    .kv = s->kv,
                                    .identity = s->identity,
                                    .member = o->name,
                                    .cache_budget = &s->cache_budget,
                                    .content_bytes_max = o->config_bytes};
    s->stream = stream_server_new(&stream);
    mounts[API_MOUNTS] = (struct http_mount){STREAM_PATH, &stream_http_handler, s->stream, true};
    if (o->console)
        console_mounts(s->kv, mounts + API_MOUNTS + 1);
    struct http_options http = {
        .loop = &s->loop,
        .rpc = &s->rpc,
        .registry = s->registry,
        .tls = s->tls ? &tls : NULL,
        .request_bytes_max = o->max_request_bytes,
        .connections_max = s->connections_max,
        .sources = &s->limits.sources,
        .output = &s->limits.output,
        .cors = o->cors,
        .host_whitelist = o->host_whitelist,
        .origins = option_is_given(&o->set, "cors") ? o->cors : NULL,
        .own_hosts = o->own_hosts,
        .enable_gateway = o->enable_gateway,
        .server_version = ETCD_VERSION,
        .cluster_version = cluster_version,
        .cluster_version_arg = s,
        .not_ready = why_not_ready,
        .not_ready_arg = s,
        .mounts = mounts,
        .mount_count = API_MOUNTS + 1 + (o->console ? CONSOLE_MOUNTS : 0),
    };
    int err = http_server_new(&http, s->error, sizeof s->error, &s->http);
    grpc_server_use_http(s->grpc, s->http, &http_carried);
    return err ? err : listen_on(s, &o->listen_metrics, LISTEN_METRICS);
}

static void open_handles(struct server *s)
{
    uv_prepare_init(&s->loop, &s->turn);
    uv_check_init(&s->loop, &s->woken);
    uv_idle_init(&s->loop, &s->again);
    uv_timer_init(&s->loop, &s->tick);
    uv_timer_init(&s->loop, &s->drain);
    uv_signal_init(&s->loop, &s->term);
    uv_signal_init(&s->loop, &s->interrupt);
    uv_signal_init(&s->loop, &s->hangup);
    s->turn.data = s->again.data = s->tick.data = s->drain.data = s;
    s->term.data = s->interrupt.data = s->hangup.data = s;
    uv_prepare_start(&s->turn, server_on_turn);
    uv_check_start(&s->woken, on_woken);
    uv_timer_start(&s->tick, on_tick, s->options->election_ms, s->options->election_ms);
    uv_signal_start(&s->term, on_stop_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_stop_signal, SIGINT);
    uv_signal_start(&s->hangup, on_hangup, SIGHUP);
}

static void cannot_start(struct server *s)
{
    log_error("cannot start the server", F_STR("error", s->error));
    shut_down(s, 1);
}

/* The bootstrap is done: opens or creates the store. */
static void on_booted(void *arg, int err, const char *error, const struct boot_result *result)
{
    struct server *s = arg;
    s->boot = NULL;
    if (err)
        snprintf(s->error, sizeof s->error, "%s", error);
    else
        err = open_kv(s, result->join);
    if (err) {
        cannot_start(s);
        return;
    }
    s->state = SERVER_STARTING;
    s->backup = backup_open(&s->loop, s->kv, s->options);
    s->write_limits = write_limits_new(&(struct write_limits_options){
        .kv = s->kv, .namespace_bytes_per_minute = s->options->namespace_write_bytes});
    err = audit_log_open(s->kv, s->options, s->error, sizeof s->error, &s->audit);
    if (!err) {
        struct audit *audit = audit_log_trail(s->audit);
        s->prober = prober_new(&s->loop, slice_text(s->options->registry_check_allow));
        s->idempotency = idempotency_new(&(struct idempotency_options){.kv = s->kv});
        s->namespaces = views_open_namespaces(s->options, s->kv, s->write_limits, audit);
        s->registry =
            views_open_registry(s->options, s->kv, s->write_limits, audit, s->prober, s->namespaces);
        s->config =
            views_open_config(s->options, s->kv, s->write_limits, audit, &s->cache_budget, s->namespaces);
        err = open_identity(s);
    }
    if (!err)
        err = open_front_ends(s);
    if (err)
        cannot_start(s);
    else
        kv_on_ready(s->kv, server_on_ready, s);
}

static int set_aside(struct server *s)
{
    bool was_diverged = false;
    int err = kv_set_aside(s->io, s->options->dir, or_null(s->options->wal_dir), &was_diverged);
    if (err)
        snprintf(s->error, sizeof s->error,
                 "%.400s holds a state that was found to be wrong and cannot be set aside: %s",
                 s->options->dir, err_text(err));
    if (was_diverged)
        log_warn("the state of this member is wrong: it is set aside, and the member joins again",
                 F_STR("data-dir", s->options->dir));
    return err;
}

static void server_start(struct server *s)
{
    struct boot_options boot;
    int err = s->options->memory_mlock ? limits_lock_memory(s->error, sizeof s->error) : OK;
    if (!err)
        err = check_data_dir(s->options->dir, s->error, sizeof s->error);
    s->io = io_real_new(&s->loop, s->options->unsafe_no_fsync);
    if (!err)
        err = set_aside(s);
    peering_boot_options(s->options, s->io, NULL, &boot);
    if (!err && !boot_has_data(&boot)) {
        err = discovery_find_cluster(s->options, s->error, sizeof s->error);
        peering_boot_options(s->options, s->io, NULL, &boot);
    } else if (!err && discovery_is_wanted(s->options)) {
        log_warn("discovery token is ignored since cluster already initialized; valid logs are found");
    }
    if (!err)
        err = open_tls(s);
    if (!err)
        err = peering_open(s->options, s->io, &s->loop, &s->limits.output, s->error, sizeof s->error,
                           &s->peers);
    if (err) {
        cannot_start(s);
        return;
    }
    boot.peers = s->peers;
    s->boot = boot_start(&boot, on_booted, s);
}

int server_run(struct options *o)
{
    struct server *s = mem_new(sizeof *s);
    s->options = o;
    cache_budget_init(&s->cache_budget, o->cache_bytes);
    log_info("starting cairnd", F_STR("version", CAIRN_VERSION), F_STR("etcd-version", ETCD_VERSION),
             F_STR("name", o->name), F_STR("data-dir", o->dir),
             F_STR("listen-client-urls", o->listen_client_urls),
             F_STR("advertise-client-urls", o->advertise_client_urls),
             F_STR("initial-cluster", o->initial_cluster),
             F_INT("snapshot-catchup-entries", (int64_t)o->catchup_entries),
             F_STR("v2-deprecation", "write-only")); /* etcd enforces its default and says so */
    if (o->encryption_keys)
        log_info("has keys that seal configurations", F_UINT("keys", o->encryption_keys->count),
                 F_STR("seals-with", o->encryption_keys->list[0].id));
    s->connections_max = limits_raise_files();
    limits_open(&s->limits, o, s->connections_max);
    uv_loop_init(&s->loop);
    turn_watch_start(&s->turns, &s->loop);
    open_handles(s);
    server_start(s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    log_info("closed etcd server", F_STR("name", o->name), F_STR("data-dir", o->dir));
    turn_watch_stop(&s->turns);
    int err = uv_loop_close(&s->loop);
    if (err)
        log_warn("the loop still has open handles", F_STR("error", uv_strerror(err)));
    limits_close(&s->limits);
    tls_context_free(s->tls);
    mem_free(s->cert_file);
    mem_free(s->key_file);
    int exit_code = s->exit_code;
    mem_free(s);
    return exit_code;
}
