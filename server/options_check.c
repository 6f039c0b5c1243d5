/* SPDX-License-Identifier: Apache-2.0
 * Checks of options, alone and together. Order and texts are those of etcd's embed.Config.Validate, so that
 * its users find the messages that they know. An option that cannot have its effect is rejected with a
 * sentence, never ignored in silence. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "registry/registry.h"
#include "server/auth/identity.h"
#include "server/dns/dns_server.h"
#include "server/options.h"
#include "server/probe/probe.h"

enum { ELECTION_MS_MAX = 50000, URLS_MAX = 64 };

static __attribute__((format(printf, 2, 3))) enum options_next refuse(struct options *o, const char *format,
                                                                      ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(o->error, sizeof o->error, format, args);
    va_end(args);
    return OPTIONS_REFUSED;
}

/* A value that etcd rejects while it reads flags: exit code 2 for a flag, 1 for a file. */
static enum options_next refuse_value(struct options *o, const char *flag, struct slice value,
                                      const char *why)
{
    (void)refuse(o, "invalid value \"%.*s\" for flag -%s: %s", (int)(value.size < 200 ? value.size : 200),
                 (const char *)value.data, flag, why);
    return o->is_from_file ? OPTIONS_REFUSED : OPTIONS_USAGE;
}

/* One of a set of words: etcd names the value twice. */
static enum options_next refuse_word(struct options *o, const char *flag, const char *value)
{
    char why[240];
    snprintf(why, sizeof why, "invalid value \"%.200s\"", value);
    return refuse_value(o, flag, slice_text(value), why);
}

/* --- lists ------------------------------------------------------------------------------------------- */
bool text_list_has(const struct text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

static void list_add(struct text_list *list, struct slice text)
{
    list->items = mem_resize(list->items, (list->count + 1) * sizeof *list->items);
    char *copy = mem_alloc(text.size + 1);
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    list->items[list->count++] = copy;
}

/* Takes the next piece before a comma, without blanks around it; false at the end. */
static bool next_piece(const char **at, struct slice *ret_piece)
{
    if (!**at)
        return false;
    size_t n = strcspn(*at, ",");
    struct slice s = slice_of(*at, n);
    *at += n + ((*at)[n] == ',');
    while (s.size && (s.data[0] == ' ' || s.data[0] == '\t' || s.data[0] == '\n'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t' || s.data[s.size - 1] == '\n'))
        s.size--;
    *ret_piece = s;
    return true;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* --- URLs --------------------------------------------------------------------------------------------- */
static bool begins(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.size >= n && memcmp(s.data, prefix, n) == 0;
}

/* NULL if etcd accepts the URL; otherwise etcd's error text. */
static const char *url_problem(struct slice text, struct url *ret_url)
{
    static char why[400];
    int size = (int)(text.size < 200 ? text.size : 200);
    if (!begins(text, "http://") && !begins(text, "https://") && !begins(text, "unix://") &&
        !begins(text, "unixs://")) {
        snprintf(why, sizeof why, "URL scheme must be http, https, unix, or unixs: %.*s", size,
                 (const char *)text.data);
        return why;
    }
    if (url_parse(text, ret_url)) {
        snprintf(why, sizeof why, "URL address does not have the form \"host:port\": %.*s", size,
                 (const char *)text.data);
        return why;
    }
    if (ret_url->path[0] && strncmp(ret_url->scheme, "unix", 4) != 0) {
        snprintf(why, sizeof why, "URL must not contain a path: %.*s", size, (const char *)text.data);
        return why;
    }
    return NULL;
}

static enum options_next parse_urls(struct options *o, const char *flag, const char *value,
                                    struct text_list *ret_list)
{
    const char *at = value;
    for (struct slice piece; next_piece(&at, &piece);) {
        struct url url;
        const char *why = url_problem(piece, &url);
        if (why)
            return refuse_value(o, flag, slice_text(value), why);
        if (ret_list->count >= URLS_MAX)
            return refuse_value(o, flag, slice_text(value), "more than 64 URLs");
        char *text = mem_alloc(piece.size + 1);
        memcpy(text, piece.data, piece.size);
        text[piece.size] = 0;
        if (!text_list_has(ret_list, text))
            list_add(ret_list, piece);
        mem_free(text);
    }
    if (ret_list->count)
        qsort(ret_list->items, ret_list->count, sizeof *ret_list->items, compare_texts);
    return OPTIONS_START;
}

static void add_host(struct buf *out, const char *host)
{
    buf_add_text(out, out->size ? "," : "");
    for (; *host; host++)
        buf_add_byte(out, (uint8_t)(*host >= 'A' && *host <= 'Z' ? *host + ('a' - 'A') : *host));
}

static void add_url_hosts(struct buf *out, const struct text_list *urls)
{
    for (size_t i = 0; i < urls->count; i++) {
        struct url url;
        if (url_parse(slice_text(urls->items[i]), &url) == 0 && url.host[0])
            add_host(out, url.host);
    }
}

/* Adds the host of "https://name", with or without a port; adds "*" as it is. */
static void add_origin_host(struct buf *out, struct slice origin)
{
    char name[256];
    const char *at;
    snprintf(name, sizeof name, "%.*s", (int)(origin.size < 255 ? origin.size : 255),
             (const char *)origin.data);
    at = strstr(name, "://");
    if (!at && strcmp(name, "*") != 0)
        return;
    at = at ? at + 3 : name;
    name[(size_t)(at - name) + strcspn(at, ":/")] = 0;
    if (*at)
        add_host(out, at);
}

/* "*" is etcd's default of both lists: it counts only if the operator gave it. */
static enum options_next make_own_hosts(struct options *o)
{
    struct buf out = {0};
    const char *at = option_is_given(&o->set, "host-whitelist") ? o->host_whitelist : "";
    add_url_hosts(&out, &o->listen_client);
    add_url_hosts(&out, &o->listen_http);
    add_url_hosts(&out, &o->advertise_client);
    for (struct slice piece; next_piece(&at, &piece);) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)(piece.size < 255 ? piece.size : 255),
                 (const char *)piece.data);
        add_host(&out, name);
    }
    at = option_is_given(&o->set, "cors") ? o->cors : "";
    for (struct slice piece; next_piece(&at, &piece);)
        add_origin_host(&out, piece);
    o->own_hosts = mem_string(buf_text(&out));
    buf_done(&out);
    return OPTIONS_START;
}

static bool is_unix(const struct url *url)
{
    return strncmp(url->scheme, "unix", 4) == 0;
}

/* A listen URL needs an address of this machine, not a name that may resolve to any address. */
static enum options_next check_bind(struct options *o, const struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct url url;
        struct in6_addr address;
        if (url_parse(slice_text(list->items[i]), &url) || is_unix(&url) ||
            strcmp(url.host, "localhost") == 0)
            continue;
        if (inet_pton(AF_INET, url.host, &address) != 1 && inet_pton(AF_INET6, url.host, &address) != 1)
            return refuse(o, "expected IP in URL for binding (%s)", list->items[i]);
    }
    return OPTIONS_START;
}

/* The peer port does not tell TLS from plain bytes, as that of clients does. */
static enum options_next check_peer_schemes(struct options *o)
{
    for (size_t i = 0; i < o->listen_peer.count; i++)
        for (size_t j = 0; j < i; j++) {
            const char *a = o->listen_peer.items[j], *b = o->listen_peer.items[i];
            if (strcmp(strstr(a, "://"), strstr(b, "://")) == 0)
                return refuse(o, "--listen-peer-urls has %s and %s: an address for members has one scheme", a,
                              b);
        }
    return OPTIONS_START;
}

static enum options_next check_urls(struct options *o)
{
    enum options_next next;
    const struct {
        const char *flag, *value;
        struct text_list *list;
        bool is_bound;
    } urls[] = {
        {"listen-peer-urls", o->listen_peer_urls, &o->listen_peer, true},
        {"listen-client-urls", o->listen_client_urls, &o->listen_client, true},
        {"listen-client-http-urls", o->listen_client_http_urls, &o->listen_http, true},
        {"listen-metrics-urls", o->listen_metrics_urls, &o->listen_metrics, true},
        {"initial-advertise-peer-urls", o->initial_advertise_peer_urls, &o->advertise_peer, false},
        {"advertise-client-urls", o->advertise_client_urls, &o->advertise_client, false},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if ((next = parse_urls(o, urls[i].flag, urls[i].value, urls[i].list)))
            return next;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (urls[i].is_bound && (next = check_bind(o, urls[i].list)))
            return next;
    if (!o->advertise_peer.count)
        return refuse(o, "--initial-advertise-peer-urls must not be empty");
    if ((next = check_peer_schemes(o)))
        return next;
    if (!o->listen_client.count && !o->listen_http.count)
        return refuse(o, "--listen-client-urls must not be empty");
    return OPTIONS_START;
}

/* --- the cluster -------------------------------------------------------------------------------------- */
static void member_add(struct options *o, struct slice name, struct slice url)
{
    o->members = mem_resize(o->members, (o->member_count + 1) * sizeof *o->members);
    struct text_list pair = {0};
    list_add(&pair, name);
    list_add(&pair, url);
    o->members[o->member_count++] =
        (struct kv_member_option){.name = pair.items[0], .peer_url = pair.items[1]};
    mem_free(pair.items);
}

/* Parses name=url,name=url; a URL without a name belongs to the name before it, as in etcd. */
static enum options_next parse_members(struct options *o)
{
    const char *at = o->initial_cluster;
    struct slice name = {0};
    for (struct slice piece; next_piece(&at, &piece);) {
        const uint8_t *equals = memchr(piece.data, '=', piece.size);
        struct slice text = piece;
        if (equals) {
            name = slice_of(piece.data, (size_t)(equals - piece.data));
            text = slice_of(equals + 1, piece.size - name.size - 1);
        }
        struct url url;
        const char *why = url_problem(text, &url);
        if (!name.size)
            why = "expected name=URL";
        if (why)
            return refuse(o, "--initial-cluster=%.300s: %s", o->initial_cluster, why);
        if (o->member_count >= URLS_MAX)
            return refuse(o, "--initial-cluster has more than %d URLs", URLS_MAX);
        member_add(o, name, text);
    }
    /* etcd clears its default cluster for this option, too; alone it leaves none. */
    bool has_default = !*o->discovery_srv_name || *o->discovery_srv || *o->discovery_endpoints;
    if (!o->member_count && has_default)
        for (size_t i = 0; i < o->advertise_peer.count; i++)
            member_add(o, slice_text(o->name), slice_text(o->advertise_peer.items[i]));
    return OPTIONS_START;
}

static const char *initial_name(const struct options *o)
{
    return o->initial_name ? o->initial_name : o->name;
}

static void replace_text(char **text, const char *other)
{
    char *copy = mem_string(other);
    mem_free(*text);
    *text = copy;
}

int options_replace_cluster(struct options *o, const char *cluster, const char *own_name,
                            const char *advertised, char *error, size_t error_size)
{
    enum options_next next = OPTIONS_START;
    for (size_t i = 0; i < o->member_count; i++) {
        mem_free(o->members[i].name);
        mem_free(o->members[i].peer_url);
    }
    o->member_count = 0;
    replace_text(&o->initial_cluster, cluster);
    replace_text(&o->initial_name, own_name);
    if (advertised) {
        for (size_t i = 0; i < o->advertise_peer.count; i++)
            mem_free(o->advertise_peer.items[i]);
        o->advertise_peer.count = 0;
        replace_text(&o->initial_advertise_peer_urls, advertised);
        next = parse_urls(o, "initial-advertise-peer-urls", advertised, &o->advertise_peer);
    }
    if (next == OPTIONS_START)
        next = parse_members(o);
    if (next == OPTIONS_START)
        return OK;
    snprintf(error, error_size, "%s", o->error);
    return ERR_INVALID;
}

/* 'auto': a member that is not named joins the named ones, as after `kubectl scale`. */
static void resolve_state(struct options *o)
{
    bool is_named = false;
    for (size_t i = 0; i < o->member_count; i++)
        is_named |= strcmp(o->members[i].name, initial_name(o)) == 0;
    o->is_auto = strcmp(o->initial_cluster_state, "auto") == 0 && is_named;
    o->is_existing = strcmp(o->initial_cluster_state, "new") != 0 && !o->is_auto;
    if (is_named || strcmp(o->initial_cluster_state, "auto") != 0)
        return;
    for (size_t i = 0; i < o->advertise_peer.count; i++)
        member_add(o, slice_text(o->name), slice_text(o->advertise_peer.items[i]));
}

int options_check_bootstrap(struct options *o)
{
    bool has_name = false;
    resolve_state(o);
    for (size_t i = 0; i < o->member_count; i++) {
        if (strcmp(o->members[i].name, initial_name(o)) != 0)
            continue;
        has_name = true;
        if (!text_list_has(&o->advertise_peer, o->members[i].peer_url)) {
            (void)refuse(o, "--initial-cluster has %s=%s but missing from --initial-advertise-peer-urls=%s",
                         o->name, o->members[i].peer_url, o->initial_advertise_peer_urls);
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < o->member_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(o->members[i].peer_url, o->members[j].peer_url) == 0) {
                (void)refuse(o, "initial cluster %s has duplicate url", o->initial_cluster);
                return ERR_INVALID;
            }
    if (!has_name) {
        (void)refuse(o, "couldn't find local name \"%s\" in the initial cluster configuration", o->name);
        return ERR_INVALID;
    }
    for (size_t i = 0; i < o->advertise_peer.count; i++) {
        bool is_there = false;
        for (size_t j = 0; j < o->member_count; j++)
            is_there |= strcmp(o->members[j].name, initial_name(o)) == 0 &&
                        strcmp(o->members[j].peer_url, o->advertise_peer.items[i]) == 0;
        if (!is_there) {
            (void)refuse(o, "--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s",
                         o->advertise_peer.items[i], o->initial_cluster);
            return ERR_INVALID;
        }
    }
    return 0;
}

/* A flag or variable that gives an empty list is a list with an empty endpoint, as in etcd. */
static enum options_next check_discovery(struct options *o)
{
    bool has_endpoints =
        *o->discovery_endpoints || (!o->is_from_file && option_is_given(&o->set, "discovery-endpoints"));
    if ((*o->initial_cluster != 0) + (*o->discovery_srv != 0) + has_endpoints > 1)
        return refuse(o, "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", "
                         "\"discovery-endpoints\" or \"discovery-srv\"");
    if ((*o->discovery_token != 0) != has_endpoints)
        return refuse(o, "both --discovery-token and --discovery-endpoints must be set");
    const char *at = o->discovery_endpoints;
    bool has_empty = has_endpoints && !*at;
    size_t size = strlen(at);
    has_empty |= size && at[size - 1] == ',';
    for (struct slice piece; next_piece(&at, &piece);)
        has_empty |= !piece.size;
    if (has_empty)
        return refuse(o, "--discovery-endpoints must not contain empty endpoints");
    return OPTIONS_START;
}

static enum options_next check_cluster(struct options *o)
{
    if (strcmp(o->initial_cluster_state, "new") != 0 && strcmp(o->initial_cluster_state, "existing") != 0 &&
        strcmp(o->initial_cluster_state, "auto") != 0)
        return refuse_word(o, "initial-cluster-state", o->initial_cluster_state);
    /* etcd does not read this key of a file, and its own sample file has 'proxy'. */
    bool is_fallback_read = !o->is_from_file;
    if (is_fallback_read && strcmp(o->discovery_fallback, "proxy") == 0)
        return refuse(o, "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"");
    if (is_fallback_read && strcmp(o->discovery_fallback, "exit") != 0)
        return refuse_word(o, "discovery-fallback", o->discovery_fallback);
    enum options_next next = check_discovery(o);
    if (next != OPTIONS_START)
        return next;
    static const char *const phases[] = {"write-only", "write-only-skip-check", "write-only-drop-data",
                                         "gone"};
    bool is_phase = o->is_from_file;
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
        is_phase |= strcmp(o->v2_deprecation, phases[i]) == 0;
    if (!is_phase)
        return refuse_word(o, "v2-deprecation", o->v2_deprecation);
    if (option_is_given(&o->set, "v2-deprecation"))
        buf_add_text(&o->set.warnings,
                     "--v2-deprecation is deprecated and scheduled for removal in v3.8. The "
                     "default value is enforced, ignoring user input.\n");
    if (!o->heartbeat_ms)
        return refuse(o, "--heartbeat-interval must be >0 (set to 0ms)");
    if (!o->election_ms)
        return refuse(o, "--election-timeout must be >0 (set to 0ms)");
    if (o->heartbeat_ms > o->election_ms / 5)
        return refuse(o,
                      "--election-timeout[%" PRIu64
                      "ms] should be at least as 5 times as --heartbeat-interval[%" PRIu64 "ms]",
                      o->election_ms, o->heartbeat_ms);
    if (o->election_ms > ELECTION_MS_MAX)
        return refuse(o, "--election-timeout[%" PRIu64 "ms] is too long, and should be set less than %dms",
                      o->election_ms, ELECTION_MS_MAX);
    bool is_listen_given = option_is_given(&o->set, "listen-client-urls");
    if ((is_listen_given && !option_is_given(&o->set, "advertise-client-urls")) || !o->advertise_client.count)
        return refuse(o, "--advertise-client-urls is required when --listen-client-urls is set explicitly");
    return OPTIONS_START;
}

/* --- the rest ------------------------------------------------------------------------------------------ */
static enum options_next check_feature_gates(struct options *o)
{
    static const char *const known[] = {"AllAlpha",
                                        "AllBeta",
                                        "CompactHashCheck",
                                        "FastLeaseKeepAlive",
                                        "InitialCorruptCheck",
                                        "LeaseCheckpoint",
                                        "LeaseCheckpointPersist",
                                        "PriorityRequest",
                                        "SetMemberLocalAddr",
                                        "StopGRPCServiceOnDefrag",
                                        "TxnModeWriteWithSharedBuffer"};
    const char *at = o->feature_gates;
    enum options_next next;
    bool compares_states = true, checkpoints = false, keeps_checkpoints = false;
    for (struct slice piece; next_piece(&at, &piece);) {
        char why[300];
        struct slice all = slice_text(o->feature_gates), name = piece;
        const uint8_t *equals = memchr(piece.data, '=', piece.size);
        if (!piece.size)
            continue;
        if (!equals) {
            snprintf(why, sizeof why, "missing bool value for %.*s", (int)(name.size < 100 ? name.size : 100),
                     (const char *)name.data);
            return refuse_value(o, "feature-gates", all, why);
        }
        name.size = (size_t)(equals - piece.data);
        int shown = (int)(name.size < 100 ? name.size : 100);
        bool value, is_known = false;
        if (text_to_bool(slice_of(equals + 1, piece.size - name.size - 1), &value)) {
            snprintf(why, sizeof why, "invalid value of %.*s, must be true or false", shown,
                     (const char *)name.data);
            return refuse_value(o, "feature-gates", all, why);
        }
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is_known |= slice_equal(slice_text(known[i]), name);
        if (slice_equal(slice_text("CompactHashCheck"), name))
            compares_states = value;
        else if (slice_equal(slice_text("LeaseCheckpoint"), name))
            checkpoints = value;
        else if (slice_equal(slice_text("LeaseCheckpointPersist"), name))
            keeps_checkpoints = value;
        else if (slice_equal(slice_text("AllAlpha"), name))
            checkpoints |= value;
        if (!is_known) {
            snprintf(why, sizeof why, "unrecognized feature gate: %.*s", shown, (const char *)name.data);
            return refuse_value(o, "feature-gates", all, why);
        }
    }
    if (keeps_checkpoints && !checkpoints)
        return refuse(o, "enabling feature gate LeaseCheckpointPersist requires enabling feature gate "
                         "LeaseCheckpoint");
    if (o->hash_check_ns <= 0) {
        struct buf shown = {0};
        text_add_duration(&shown, o->hash_check_ns);
        next = refuse(o, "--compact-hash-check-time must be >0 (set to %s)", buf_text(&shown));
        buf_done(&shown);
        return next;
    }
    int64_t every_ns = o->corrupt_check_ns ? o->corrupt_check_ns : compares_states ? o->hash_check_ns : 0;
    o->compare_states_ms = (uint64_t)(every_ns + 999999) / 1000000;
    return OPTIONS_START;
}

/* A plain number is hours, or revisions; any other value is a duration. */
static enum options_next check_compaction(struct options *o)
{
    bool is_periodic = strcmp(o->compaction_mode, "periodic") == 0;
    if (!*o->compaction_mode)
        return refuse(o, "undefined auto-compaction-mode");
    if (!is_periodic && strcmp(o->compaction_mode, "revision") != 0)
        return refuse(o, "unknown auto-compaction-mode \"%s\"", o->compaction_mode);
    struct slice text = slice_text(o->compaction_retention);
    const int64_t hour_ns = 3600000000000;
    if (!text_to_i64(text, &o->retention) && o->retention >= 0) {
        if (is_periodic && o->retention > INT64_MAX / hour_ns)
            return refuse(o, "--auto-compaction-retention[%s] is too long", o->compaction_retention);
        o->retention *= is_periodic ? hour_ns : 1;
    } else if (text_to_duration_ns(text, &o->retention) || o->retention < 0) {
        int64_t number;
        return refuse(o, "error parsing CompactionRetention: time: %s duration \"%s\"",
                      text_to_i64(text, &number) ? "invalid" : "missing unit in", o->compaction_retention);
    }
    return OPTIONS_START;
}

static enum options_next check_rotation(struct options *o)
{
    if (!o->enable_log_rotation)
        return OPTIONS_START;
    if (strchr(o->log_outputs, ',') || strcmp(o->log_outputs, "stderr") == 0 ||
        strcmp(o->log_outputs, "stdout") == 0 || strcmp(o->log_outputs, "default") == 0)
        return refuse(o,
                      "--log-outputs requires a single file path when --log-rotate-config-json is defined");
    char why[200];
    json_t *root;
    if (json_parse(slice_text(o->log_rotation_config), &root, why, sizeof why))
        return refuse(o, "improperly formatted JSON in --log-rotation-config-json: %s", why);
    json_int_t size = json_integer_value(json_object_get(root, "maxsize"));
    json_int_t backups = json_integer_value(json_object_get(root, "maxbackups"));
    json_decref(root);
    if (size < 0 || size > 1 << 20 || backups < 0 || backups > 1000)
        return refuse(o, "--log-rotation-config-json: maxsize must be 0 to 1048576, maxbackups 0 to 1000");
    o->log_rotate_mb = size ? (uint64_t)size : 100;
    o->log_backups = backups ? (uint64_t)backups : 1;
    return OPTIONS_START;
}

static enum options_next check_log(struct options *o)
{
    if (strcmp(o->logger, "zap") != 0)
        return refuse(o, "unknown logger option \"%s\"", o->logger);
    if (log_level_parse(o->log_level, &o->level))
        return refuse(o,
                      "unrecognized level: \"%s\" (--log-level is debug, info, warn, error, panic or fatal)",
                      o->log_level);
    if (strcmp(o->log_format, "json") != 0 && strcmp(o->log_format, "console") != 0)
        return refuse(o, "unknown log format: %s, supported values json, console", o->log_format);
    return check_rotation(o);
}

static bool is_version(const char *text)
{
    return strcmp(text, "TLS1.2") == 0 || strcmp(text, "TLS1.3") == 0 || !*text;
}

/* Exit code 2, as for a flag with an impossible value. */
static enum options_next check_peer_proof(struct options *o)
{
    if (*o->join_token_file && options_read_join_tokens(o, o->error, sizeof o->error) != OK)
        return OPTIONS_USAGE;
    if (o->require_peer_proof && !*o->join_token_file && !*o->peer_trusted_ca_file) {
        (void)refuse(
            o, "--require-peer-proof needs what members prove themselves with: --join-token-file, or peer "
               "TLS with --peer-trusted-ca-file");
        return OPTIONS_USAGE;
    }
    for (size_t i = 0; o->require_peer_proof && !*o->join_token_file && i < o->listen_peer.count; i++)
        if (!begins(slice_text(o->listen_peer.items[i]), "https://")) {
            (void)refuse(o,
                         "--require-peer-proof without --join-token-file needs https for all peer URLs, and "
                         "--listen-peer-urls has %s",
                         o->listen_peer.items[i]);
            return OPTIONS_USAGE;
        }
    return OPTIONS_START;
}

static enum options_next check_tls(struct options *o)
{
    if (!is_version(o->tls_min_version) || !is_version(o->tls_max_version))
        return refuse(o, "unexpected TLS version \"%s\" (must be one of: TLS1.2, TLS1.3)",
                      is_version(o->tls_min_version) ? o->tls_max_version : o->tls_min_version);
    if (*o->tls_max_version && strcmp(o->tls_min_version, o->tls_max_version) > 0)
        return refuse(o, "min version (%s) is greater than max version (%s)", o->tls_min_version,
                      o->tls_max_version);
    if (strcmp(o->tls_min_version, "TLS1.3") == 0 && *o->cipher_suites)
        return refuse(o, "cipher suites cannot be configured when only TLS1.3 is enabled");
    if (*o->client_cert_allowed_hostname && !*o->trusted_ca_file)
        return refuse(o, "--client-cert-allowed-hostname needs --trusted-ca-file: without it clients show no "
                         "certificate whose names could be checked");
    if ((*o->cert_file != 0) != (*o->key_file != 0))
        return refuse(o, "--cert-file and --key-file must be given together");
    if (identity_check_option(o->auth_token, o->error, sizeof o->error))
        return OPTIONS_REFUSED;
    if (o->client_cert_auth && !*o->trusted_ca_file && !o->auto_tls)
        return refuse(
            o, "--client-cert-auth needs --trusted-ca-file: the authority of the clients' certificates");
    const struct text_list *lists[] = {&o->listen_client, &o->listen_http, &o->listen_metrics};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (size_t j = 0; j < lists[i]->count; j++) {
            struct slice url = slice_text(lists[i]->items[j]);
            if ((!begins(url, "https://") && !begins(url, "unixs://")) || *o->cert_file || o->auto_tls)
                continue;
            if (lists[i] == &o->listen_metrics)
                return refuse(o,
                              "client TLS key/cert (--cert-file, --key-file) must be provided for metrics "
                              "secure url %s",
                              lists[i]->items[j]);
            return refuse(o,
                          "TLS key/cert (--cert-file, --key-file) must be provided for client url %s "
                          "with HTTPS scheme",
                          lists[i]->items[j]);
        }
    }
    return OPTIONS_START;
}

static enum options_next check_peer_tls(struct options *o)
{
    if ((*o->peer_cert_file != 0) != (*o->peer_key_file != 0))
        return refuse(o, "--peer-cert-file and --peer-key-file must be given together");
    if ((*o->peer_client_cert_file != 0) != (*o->peer_client_key_file != 0))
        return refuse(o, "--peer-client-cert-file and --peer-client-key-file must be given together");
    if (*o->peer_cert_allowed_cn && *o->peer_cert_allowed_hostname)
        return refuse(o, "AllowedCN and AllowedHostname are mutually exclusive (cn=%.200s, hostname=%.200s)",
                      o->peer_cert_allowed_cn, o->peer_cert_allowed_hostname);
    if (o->peer_client_cert_auth && !*o->peer_trusted_ca_file && !o->peer_auto_tls)
        return refuse(o,
                      "--peer-client-cert-auth needs --peer-trusted-ca-file: the authority of the members' "
                      "certificates");
    for (size_t i = 0; i < o->listen_peer.count; i++) {
        struct slice url = slice_text(o->listen_peer.items[i]);
        if ((begins(url, "https://") || begins(url, "unixs://")) && !*o->peer_cert_file && !o->peer_auto_tls)
            return refuse(o,
                          "cannot listen on TLS for %s: KeyFile and CertFile are not presented "
                          "(--peer-cert-file, --peer-key-file)",
                          o->listen_peer.items[i]);
    }
    return OPTIONS_START;
}

static enum options_next check_dns(struct options *o)
{
    const int64_t second_ns = 1000000000;
    char why[256];
    if (dns_server_check(o->listen_dns, o->dns_zone, why, sizeof why))
        return refuse(o, "--listen-dns, --dns-zone: %s", why);
    if (o->dns_ttl_ns % second_ns)
        return refuse(o, "--dns-ttl must be whole seconds");
    return OPTIONS_START;
}

static enum options_next check_projections(struct options *o)
{
    struct projections *projections;
    char why[300];
    if (projections_parse(slice_text(o->registry_projections), why, sizeof why, &projections))
        return refuse(o, "--registry-projections: %s", why);
    projections_free(projections);
    return OPTIONS_START;
}

static enum options_next check_networks(struct options *o)
{
    struct check_networks networks;
    char why[200];
    if (check_networks_parse(slice_text(o->registry_check_allow), &networks, why, sizeof why))
        return refuse(o, "--registry-check-allow: %s", why);
    return OPTIONS_START;
}

static enum options_next check_name(struct options *o)
{
    if (!*o->name)
        return refuse(o, "--name must not be empty");
    if (strlen(o->name) > 255 || strpbrk(o->name, ",="))
        return refuse(o, "--name %.60s: at most 255 characters, no comma, no equals sign", o->name);
    if (!*o->cors && !o->is_from_file && option_is_given(&o->set, "cors"))
        return refuse_value(o, "cors", slice_text(""), "URL scheme must be http, https, unix, or unixs: ");
    if (strcmp(o->metrics, "basic") != 0 && strcmp(o->metrics, "extensive") != 0)
        return refuse(o, "--metrics is \"%s\", but must be basic or extensive", o->metrics);
    struct buf dir = {0};
    if (*o->data_dir)
        buf_add_text(&dir, o->data_dir);
    else
        buf_addf(&dir, "%s.etcd", o->name);
    o->dir = mem_string(buf_text(&dir));
    buf_done(&dir);
    return OPTIONS_START;
}

static enum options_next check_encryption(struct options *o)
{
    return options_read_encryption_keys(o) == OK ? OPTIONS_START : OPTIONS_USAGE;
}

/* The keys come last: a command for them runs only if all else is fine. */
enum options_next options_check(struct options *o)
{
    enum options_next (*const steps[])(struct options *) = {
        check_feature_gates, check_log,        check_urls,       check_cluster,  check_name,
        parse_members,       check_compaction, check_tls,        check_peer_tls, check_dns,
        check_projections,   check_networks,   check_peer_proof, make_own_hosts, check_encryption};
    enum options_next next = OPTIONS_START;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && next == OPTIONS_START; i++)
        next = steps[i](o);
    return next;
}
