/* SPDX-License-Identifier: Apache-2.0
 * Discovery of members; see discovery.h. Rules, keys and texts are those of etcd 3.7.1 (embed.Config,
 * v3discovery), so that members of both find each other's registrations. */
#include "server/discovery.h"

#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/net/srv.h"
#include "base/text.h"
#include "consensus/node/identity.h"
#include "sdk/cairn.h"

enum {
    NODES_MAX = 2 * SRV_RECORDS_MAX,
    URL_MAX = 300,
    POLL_MS = 500,
    BACKOFF_MAX_S = 256,
    SIZE_MAX_DIGITS = 9,
};

bool discovery_is_wanted(const struct options *o)
{
    return *o->discovery_srv || *o->discovery_endpoints;
}

/* --- SRV records --------------------------------------------------------------------------------------- */

struct node {
    char url[URL_MAX];
    bool is_own;
};

struct srv_search {
    struct options *o;
    struct node nodes[NODES_MAX];
    size_t count;
    bool *is_matched; /* one for each advertised peer URL */
    struct buf problems;
};

/* The first address, IPv4 before IPv6, as Go prefers them. */
static bool resolve(const char *host, unsigned port, char *ret, size_t size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *best;
    char service[16], address[NI_MAXHOST];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &list) != 0)
        return false;
    best = list;
    for (struct addrinfo *a = list; a; a = a->ai_next)
        if (a->ai_family == AF_INET && best->ai_family != AF_INET)
            best = a;
    bool is_known =
        getnameinfo(best->ai_addr, best->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) == 0;
    snprintf(ret, size, "%s %u", address, port);
    freeaddrinfo(list);
    return is_known;
}

static void add_problem(struct srv_search *s, const char *text)
{
    buf_addf(&s->problems, "%s%s", s->problems.size ? "; " : "", text);
}

/* The advertised peer URL with this address, or NULL. */
static const char *find_own(struct srv_search *s, const char *address, struct url *ret_url)
{
    for (size_t i = 0; i < s->o->advertise_peer.count; i++) {
        const char *text = s->o->advertise_peer.items[i];
        char own[NI_MAXHOST + 16];
        if (url_parse(slice_text(text), ret_url) || !resolve(ret_url->host, ret_url->port, own, sizeof own) ||
            strcmp(own, address) != 0)
            continue;
        s->is_matched[i] = true;
        return text;
    }
    return NULL;
}

static void search_service(struct srv_search *s, const char *scheme, const char *base)
{
    char service[300], text[1200];
    const char *suffix = s->o->discovery_srv_name;
    static struct srv_list list;
    size_t before = s->count;
    snprintf(service, sizeof service, "%s%s%.200s", base, *suffix ? "-" : "", suffix);
    if (!srv_lookup(service, s->o->discovery_srv, &list)) {
        snprintf(text, sizeof text,
                 "error querying DNS SRV records for _%s lookup _%s._tcp.%.300s: no such host", service,
                 service, s->o->discovery_srv);
        add_problem(s, text);
    }
    for (size_t i = 0; i < list.count && s->count < NODES_MAX; i++) {
        const struct srv_record *r = &list.records[i];
        char address[NI_MAXHOST + 16];
        struct url own;
        struct node *node = &s->nodes[s->count];
        if (!resolve(r->target, r->port, address, sizeof address)) {
            snprintf(text, sizeof text, "the target %s of _%s has no address", r->target, service);
            add_problem(s, text);
            continue;
        }
        snprintf(node->url, sizeof node->url, strchr(r->target, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme,
                 r->target, r->port);
        const char *expected = find_own(s, address, &own);
        node->is_own = expected != NULL;
        if (expected && strcmp(own.scheme, scheme) != 0) {
            snprintf(text, sizeof text,
                     "bootstrap at %s from DNS for %s has scheme mismatch with expected peer %s", node->url,
                     service, expected);
            add_problem(s, text);
            continue;
        }
        s->count++;
    }
    log_info("asked DNS for members", F_STR("service-name", service), F_STR("service-scheme", scheme),
             F_STR("discovery-srv", s->o->discovery_srv), F_INT("found", (int64_t)(s->count - before)));
}

static int compare_nodes(const void *a, const void *b)
{
    return strcmp(((const struct node *)a)->url, ((const struct node *)b)->url);
}

/* The member's own URL in the cluster is that of its record. Advertised URLs without a record stay, and the
 * check of the bootstrap names them. */
static int take_nodes(struct srv_search *s, char *error, size_t error_size)
{
    struct options *o = s->o;
    struct buf cluster = {0}, advertised = {0};
    char name[24] = "";
    size_t own_count = 0;
    qsort(s->nodes, s->count, sizeof *s->nodes, compare_nodes);
    for (size_t i = 0; i < s->count; i++) {
        buf_addf(&cluster, "%s%zu=%s", i ? "," : "", i, s->nodes[i].url);
        if (!s->nodes[i].is_own)
            continue;
        own_count++;
        snprintf(name, sizeof name, "%zu", i);
        buf_addf(&advertised, "%s%s", advertised.size ? "," : "", s->nodes[i].url);
    }
    for (size_t i = 0; i < o->advertise_peer.count; i++)
        if (!s->is_matched[i])
            buf_addf(&advertised, "%s%s", advertised.size ? "," : "", o->advertise_peer.items[i]);
    int err = own_count == 1 ? OK : ERR_INVALID;
    if (own_count == 0)
        snprintf(error, error_size,
                 "error setting up initial cluster: cannot find local etcd member \"%.200s\" in SRV records",
                 o->name);
    else if (own_count > 1)
        snprintf(error, error_size,
                 "error setting up initial cluster: %zu SRV records of %.200s name this member (%.200s); a "
                 "member needs exactly one",
                 own_count, o->discovery_srv, o->name);
    else
        err = options_replace_cluster(o, buf_text(&cluster), name, buf_text(&advertised), error, error_size);
    buf_done(&cluster);
    buf_done(&advertised);
    return err;
}

static int discover_srv(struct options *o, char *error, size_t error_size)
{
    struct srv_search *s = mem_new(sizeof *s);
    s->o = o;
    s->is_matched = mem_new((o->advertise_peer.count + 1) * sizeof *s->is_matched);
    search_service(s, "https", "etcd-server-ssl");
    search_service(s, "http", "etcd-server");
    int err = ERR_INVALID;
    if (s->problems.size)
        log_warn("failed to resolve during SRV discovery", F_STR("error", buf_text(&s->problems)));
    for (size_t i = 0; i < s->count; i++)
        log_info("got bootstrap from DNS for etcd-server", F_STR("node", s->nodes[i].url));
    if (!s->count)
        snprintf(error, error_size, "error setting up initial cluster: %.900s", buf_text(&s->problems));
    else
        err = take_nodes(s, error, error_size);
    buf_done(&s->problems);
    mem_free(s->is_matched);
    mem_free(s);
    return err;
}

/* --- the service of keys ------------------------------------------------------------------------------- */

struct service {
    const struct options *o;
    struct cairn_client *client;
    struct buf size_key, members_key, own_key, own_value;
    unsigned retries;
    size_t size;                        /* of the cluster */
    struct cairn_range_result *members; /* by creation revision */
};

static struct cairn_bytes bytes_of(struct buf *b)
{
    return cairn_text(buf_text(b));
}

static bool is_member_row(const struct cairn_kv *kv)
{
    return kv->value.size && memchr(kv->value.data, '=', kv->value.size);
}

static void back_off(struct service *s, const char *step, const char *why)
{
    s->retries++;
    unsigned seconds = s->retries < 8 ? 1u << s->retries : BACKOFF_MAX_S;
    log_warn("retry connecting to discovery service", F_STR("reason", step), F_STR("error", why),
             F_INT("backoff-seconds", (int64_t)seconds));
    sleep(seconds);
}

/* Reads the size; NULL, or why it cannot be had. */
static const char *read_size(struct service *s)
{
    struct cairn_range_request request = {.key = bytes_of(&s->size_key)};
    struct cairn_range_result *result = NULL;
    struct cairn_error error;
    const char *problem = NULL;
    int64_t size = 0;
    while (cairn_range(s->client, &request, &result, &error) != CAIRN_OK)
        back_off(s, "cluster status check", error.message);
    if (!result->kv_count)
        problem = "discovery: size key not found";
    else if (text_to_i64(slice_of(result->kvs[0].value.data, result->kvs[0].value.size), &size) ||
             size <= 0 || result->kvs[0].value.size > SIZE_MAX_DIGITS)
        problem = "discovery: size key is bad";
    s->size = (size_t)size;
    cairn_result_free(result);
    return problem;
}

/* Reads the registered members; NULL, or the error that the cluster is full without this member. */
static const char *read_members(struct service *s)
{
    struct cairn_range_request request = {
        .key = bytes_of(&s->members_key), .prefix = true, .order = CAIRN_ASCEND, .by = CAIRN_BY_CREATE};
    struct cairn_error error;
    size_t count = 0;
    cairn_result_free(s->members);
    s->members = NULL;
    while (cairn_range(s->client, &request, &s->members, &error) != CAIRN_OK)
        back_off(s, "cluster status check", error.message);
    s->retries = 0;
    for (size_t i = 0; i < s->members->kv_count; i++) {
        const struct cairn_kv *kv = &s->members->kvs[i];
        if (!is_member_row(kv))
            continue;
        if (kv->key.size == s->own_key.size && memcmp(kv->key.data, s->own_key.data, kv->key.size) == 0)
            return NULL;
        if (++count >= s->size)
            return "discovery: cluster is full";
    }
    return NULL;
}

static size_t count_members(const struct service *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->members->kv_count; i++)
        count += is_member_row(&s->members->kvs[i]);
    return count;
}

static void register_self(struct service *s)
{
    struct cairn_put_request request = {.key = bytes_of(&s->own_key), .value = bytes_of(&s->own_value)};
    struct cairn_error error;
    while (cairn_put(s->client, &request, NULL, &error) != CAIRN_OK)
        back_off(s, "register member itself", error.message);
    s->retries = 0;
    log_info("register member itself successfully", F_STR("memberKey", buf_text(&s->own_key)),
             F_STR("memberInfo", buf_text(&s->own_value)));
}

/* All steps; NULL, or what is wrong. */
static const char *join_service(struct service *s)
{
    const char *problem = read_size(s);
    if (!problem)
        problem = read_members(s);
    if (problem)
        return problem;
    register_self(s);
    problem = read_members(s);
    if (!problem && count_members(s) < s->size)
        log_info("waiting for peers from discovery service", F_INT("clusterSize", (int64_t)s->size),
                 F_INT("found-peers", (int64_t)count_members(s)));
    while (!problem && count_members(s) < s->size) {
        usleep(POLL_MS * 1000);
        problem = read_members(s);
    }
    if (!problem)
        log_info("found all needed peers from discovery service", F_INT("clusterSize", (int64_t)s->size));
    return problem;
}

static void add_cluster(const struct service *s, struct buf *out)
{
    size_t count = 0;
    for (size_t i = 0; i < s->members->kv_count && count < s->size; i++) {
        const struct cairn_kv *kv = &s->members->kvs[i];
        if (!is_member_row(kv))
            continue;
        buf_add_text(out, count++ ? "," : "");
        buf_add(out, kv->value.data, kv->value.size);
    }
}

static void add_keys(struct service *s)
{
    const struct options *o = s->o;
    const char *const *urls = (const char *const *)o->advertise_peer.items;
    uint64_t id = identity_member_id(urls, o->advertise_peer.count, o->discovery_token);
    buf_addf(&s->size_key, "/_etcd/registry/%s/_config/size", o->discovery_token);
    buf_addf(&s->members_key, "/_etcd/registry/%s/members", o->discovery_token);
    buf_addf(&s->own_key, "/_etcd/registry/%s/members/%" PRIx64, o->discovery_token, id);
    for (size_t i = 0; i < o->advertise_peer.count; i++)
        buf_addf(&s->own_value, "%s%s=%s", i ? "," : "", o->name, urls[i]);
}

/* Every endpoint gets https:// if TLS is wanted and the endpoint has no scheme. */
static void add_endpoints(const struct options *o, struct buf *out)
{
    bool wants_tls = !o->discovery_insecure_transport;
    for (const char *at = o->discovery_endpoints; *at;) {
        size_t n = strcspn(at, ",");
        buf_add_text(out, out->size ? "," : "");
        if (wants_tls && !memmem(at, n, "://", 3))
            buf_add_text(out, "https://");
        buf_add(out, at, n);
        at += n + (at[n] == ',');
    }
}

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

static uint32_t to_ms(int64_t ns)
{
    int64_t ms = ns / 1000000;
    return ms < 1 ? 1 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static int open_client(const struct options *o, struct cairn_client **ret, char *error, size_t error_size)
{
    struct buf endpoints = {0};
    char *user = mem_string(o->discovery_user), *colon = strchr(user, ':');
    const char *password = o->discovery_password;
    struct cairn_error why;
    int err = ERR_INVALID;
    if (colon && !*password) {
        *colon = 0;
        password = colon + 1;
    }
    if (*user && !*password) {
        snprintf(error, error_size,
                 "--discovery-user=%.100s has no password: give NAME:PASSWORD, or --discovery-password",
                 user);
        goto out;
    }
    add_endpoints(o, &endpoints);
    const struct cairn_options options = {
        .size = sizeof options,
        .endpoints = buf_text(&endpoints),
        .ca_file = or_null(o->discovery_cacert),
        .cert_file = or_null(o->discovery_cert),
        .key_file = or_null(o->discovery_key),
        .user = or_null(user),
        .password = or_null(password),
        .dial_timeout_ms = to_ms(o->discovery_dial_ns),
        .command_timeout_ms = to_ms(o->discovery_request_ns),
        .keepalive_interval_ms = to_ms(o->discovery_keepalive_ns),
        .keepalive_timeout_ms = to_ms(o->discovery_keepalive_timeout_ns),
        .insecure_skip_verify = o->discovery_skip_verify,
    };
    err = OK;
    if (cairn_open(&options, ret, &why) != CAIRN_OK) {
        err = ERR_INVALID;
        snprintf(error, error_size, "--discovery-endpoints=%.200s: %.300s", o->discovery_endpoints,
                 why.message);
    }
out:
    explicit_bzero(user, strlen(user));
    mem_free(user);
    buf_done(&endpoints);
    return err;
}

static int discover_service(struct options *o, char *error, size_t error_size)
{
    struct service s = {.o = o};
    struct buf cluster = {0};
    int err = open_client(o, &s.client, error, error_size);
    if (err)
        return err;
    log_info("Bootstrapping cluster using v3 discovery.", F_STR("discovery-token", o->discovery_token),
             F_STR("discovery-endpoints", o->discovery_endpoints));
    add_keys(&s);
    const char *problem = join_service(&s);
    if (problem) {
        snprintf(error, error_size,
                 "failed to join discovery cluster (%s); do not reuse a discovery token: generate a new one "
                 "to bootstrap a cluster",
                 problem);
        err = ERR_INVALID;
    } else {
        add_cluster(&s, &cluster);
        log_info("discovery joined cluster successfully", F_STR("cluster", buf_text(&cluster)));
        mem_free(o->initial_cluster_token);
        o->initial_cluster_token = mem_string(o->discovery_token);
        err = options_replace_cluster(o, buf_text(&cluster), o->name, NULL, error, error_size);
    }
    cairn_result_free(s.members);
    cairn_close(s.client);
    buf_done(&s.size_key);
    buf_done(&s.members_key);
    buf_done(&s.own_key);
    buf_done(&s.own_value);
    buf_done(&cluster);
    return err;
}

/* --- both ---------------------------------------------------------------------------------------------- */

/* Nothing is open yet that an end would have to close. */
static void end_process(int number)
{
    (void)number;
    _exit(0);
}

static int discovery_run(struct options *o, char *error, size_t error_size)
{
    if (*o->discovery_endpoints && strcmp(o->initial_cluster_state, "existing") == 0) {
        snprintf(error, error_size, "discovery URL should not be set when joining existing initial cluster");
        return ERR_INVALID;
    }
    struct sigaction action = {.sa_handler = end_process}, term, interrupt;
    sigaction(SIGTERM, &action, &term);
    sigaction(SIGINT, &action, &interrupt);
    int err =
        *o->discovery_endpoints ? discover_service(o, error, error_size) : discover_srv(o, error, error_size);
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &interrupt, NULL);
    return err;
}

int discovery_find_cluster(struct options *o, char *error, size_t error_size)
{
    int err = discovery_is_wanted(o) ? discovery_run(o, error, error_size) : OK;
    if (err)
        return err;
    err = options_check_bootstrap(o);
    if (err)
        snprintf(error, error_size, "%s", o->error);
    return err;
}
