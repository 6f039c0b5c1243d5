/* SPDX-License-Identifier: Apache-2.0
 * libcairn: the C client library of Cairn and of any server that speaks etcd v3. C99, no header of the
 * daemon.
 *
 *     struct cairn_options options = {.size = sizeof options, .endpoints = "10.0.0.1:2379,10.0.0.2:2379"};
 *     struct cairn_client *client;
 *     struct cairn_error error;
 *     if (cairn_open(&options, &client, &error) != CAIRN_OK)
 *         ...
 *     struct cairn_put_request put = {.key = cairn_text("greeting"), .value = cairn_text("hello")};
 *     if (cairn_put(client, &put, NULL, &error) != CAIRN_OK)
 *         fprintf(stderr, "put: %s\n", error.message);
 *     cairn_close(client);
 *
 * A client is one connection to one of its endpoints, and one thread that owns it. The client tries the
 * next endpoint when the connection is lost or its member cannot serve (no leader, shutting down). After
 * all endpoints have failed it pauses and begins again. The pause grows from 50 ms to 2 s, with jitter.
 *
 * Threads:
 *
 * - Every function may be called from any thread, unless its comment says otherwise.
 * - Callbacks run on the client's own thread, one at a time. While one runs the client does nothing else,
 *   so a callback should be brief.
 * - A callback must not wait. Calls that wait return CAIRN_INVALID there; the _async functions and the
 *   _stop functions are allowed.
 * - A process made by fork cannot use a client of its parent: the thread stays in the parent. All functions
 *   that take the client or an object of it return CAIRN_CLOSED there, send nothing and free nothing; those
 *   without a result do nothing. The parent's client is not disturbed. The child may open its own client.
 * - The library installs no signal handler. Its thread blocks all signals, SIGPIPE too.
 *
 * Ownership:
 *
 * - A function copies its arguments before it returns.
 * - A result (`..._result`) belongs to the caller, which frees it once with cairn_result_free. That frees
 *   everything inside too.
 * - The arguments of a callback live until the callback returns, unless its comment says that the callback
 *   owns them.
 * - The caller zeroes structs of options and requests first: zero is the default of every field. `struct
 *   cairn_options` carries its size, so that a program built with an older header works with a newer
 *   library.
 *
 * Errors:
 *
 * - A function returns 0 or a negative `enum cairn_err`.
 * - With an error it fills `struct cairn_error`, if the caller gives one: one sentence that says what
 *   failed, where, and the server's own words.
 * - The library ends the process in one case only: no memory is left.
 * - A read is retried until the command timeout.
 * - A write is sent again only if the server provably did not process it: it was never sent, or HTTP/2
 *   refused it. Any other failed write ends with CAIRN_UNKNOWN.
 *
 * Limits: keys and values as the server's (1.5 MiB a request by default); a response of 2 GiB - 1; 64
 * endpoints of 255 bytes; 65,536 calls under way. */
#ifndef CAIRN_H
#define CAIRN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CAIRN_SDK_VERSION "0.1.0"

/* ---- errors ------------------------------------------------------------------------------------------ */

/* E(name, its meaning) */
#define CAIRN_ERRORS(E)                                                                                      \
    E(CAIRN_INVALID, "invalid argument")                                                                     \
    E(CAIRN_CLOSED, "the client is being closed")                                                            \
    E(CAIRN_UNAVAILABLE, "no member could be reached, or none could serve it; it was not done")              \
    E(CAIRN_UNKNOWN, "the connection was lost, or time ran out, after a write: it may have been done")       \
    E(CAIRN_TIMEOUT, "no answer in time")                                                                    \
    E(CAIRN_CANCELED, "canceled by the program or the server")                                               \
    E(CAIRN_NOT_FOUND, "not found")                                                                          \
    E(CAIRN_EXISTS, "already exists")                                                                        \
    E(CAIRN_CONFLICT, "the condition of the request does not hold")                                          \
    E(CAIRN_COMPACTED, "the revision has been compacted")                                                    \
    E(CAIRN_FUTURE, "the revision is in the future")                                                         \
    E(CAIRN_LIMIT, "a limit of the server is reached")                                                       \
    E(CAIRN_PRECONDITION, "the cluster is not in a state for that")                                          \
    E(CAIRN_UNAUTHENTICATED, "authentication failed")                                                        \
    E(CAIRN_DENIED, "permission denied")                                                                     \
    E(CAIRN_UNIMPLEMENTED, "the server does not know this call")                                             \
    E(CAIRN_PROTOCOL, "the server's response violates the protocol")                                         \
    E(CAIRN_SERVER, "the server failed")                                                                     \
    E(CAIRN_LOST, "the lease or session is gone")                                                            \
    E(CAIRN_IO, "a local file could not be read or written")

#define CAIRN_E(name, text) name##_INDEX,
enum cairn_err_index { CAIRN_ERRORS(CAIRN_E) CAIRN_ERR_COUNT };
#undef CAIRN_E
#define CAIRN_E(name, text) name = -(name##_INDEX + 1),
enum cairn_err { CAIRN_OK = 0, CAIRN_ERRORS(CAIRN_E) };
#undef CAIRN_E

struct cairn_error {
    int code;          /* enum cairn_err */
    int status;        /* gRPC's or HTTP's, as the server sent it; 0 = it did not come from the server */
    char message[512]; /* one sentence, never empty where there is an error */
};

const char *cairn_error_name(int code); /* "CAIRN_TIMEOUT" */
const char *cairn_error_text(int code); /* the text in CAIRN_ERRORS */
const char *cairn_version(void);        /* of the library that is loaded */

/* ---- bytes ------------------------------------------------------------------------------------------- */

/* Borrowed bytes. Keys and values are not text: they may hold NULs, and none follows them. */
struct cairn_bytes {
    const void *data;
    size_t size;
};

static inline struct cairn_bytes cairn_text(const char *text)
{
    struct cairn_bytes b = {text, strlen(text)};
    return b;
}

/* ---- the client -------------------------------------------------------------------------------------- */

struct cairn_client;

/* S(name, its meaning, its level in the log): the states of a connection. A client has two connections: one
 * for calls (gRPC), one for the stream of registrations and subscriptions. Both are made on demand. */
#define CAIRN_STATES(S)                                                                                      \
    S(CAIRN_STATE_CONNECTING, "a connection is being made", CAIRN_LOG_DEBUG)                                 \
    S(CAIRN_STATE_CONNECTED, "the connection is ready", CAIRN_LOG_INFO)                                      \
    S(CAIRN_STATE_LOST, "the connection broke or could not be made", CAIRN_LOG_WARN)                         \
    S(CAIRN_STATE_CLOSED, "the server closed the connection", CAIRN_LOG_WARN)                                \
    S(CAIRN_STATE_REDIRECTED, "the member asks the client to use another one", CAIRN_LOG_INFO)               \
    S(CAIRN_STATE_REFUSED, "the server refused the connection, its hello, a registration or a view",         \
      CAIRN_LOG_ERROR)                                                                                       \
    S(CAIRN_STATE_LIMITED, "a quota or another limit of the server is reached", CAIRN_LOG_ERROR)             \
    S(CAIRN_STATE_UNAUTHENTICATED, "the credentials are not valid, or no longer", CAIRN_LOG_ERROR)           \
    S(CAIRN_STATE_SESSION_LOST, "the session ended; its instances are registered again", CAIRN_LOG_WARN)     \
    S(CAIRN_STATE_STOPPED, "the client is closed: the last report", CAIRN_LOG_INFO)

enum cairn_log_level { CAIRN_LOG_DEBUG, CAIRN_LOG_INFO, CAIRN_LOG_WARN, CAIRN_LOG_ERROR };
#define CAIRN_S(name, text, level) name,
enum cairn_state { CAIRN_STATES(CAIRN_S) CAIRN_STATE_COUNT };
#undef CAIRN_S
enum cairn_link { CAIRN_LINK_CALLS, CAIRN_LINK_STREAM };

/* The library makes it, and may add fields at its end. */
struct cairn_state_change {
    enum cairn_state state;
    enum cairn_link link;
    const char *endpoint;      /* as the options spell it; "" = all of them */
    struct cairn_error reason; /* code 0: no error. The message is a sentence, "" if there is no reason */
};

const char *cairn_state_name(enum cairn_state state); /* "CAIRN_STATE_LOST"; "?" if it is not known */
const char *cairn_state_text(enum cairn_state state); /* the text in CAIRN_STATES */

struct cairn_options {
    size_t size;           /* sizeof(struct cairn_options) */
    const char *endpoints; /* "host:port,[::1]:port,https://host:port"; default 127.0.0.1:2379 */
    const char *ca_file;   /* PEM. Any of these three, or https:// before all endpoints, selects TLS ... */
    const char *cert_file, *key_file; /* ... and without a CA, the CAs that this machine trusts */
    /* Authenticate is called on each connection before anything else, again before a token ends, and after
     * the server refused it: cairn_set_credentials */
    const char *user, *password;
    uint32_t dial_timeout_ms;       /* one attempt to connect, and a call's wait for a connection; 5,000 */
    uint32_t command_timeout_ms;    /* a call, all its attempts included; 5,000 */
    uint32_t keepalive_interval_ms; /* without data while calls are under way, then PING; 10,000 */
    uint32_t keepalive_timeout_ms;  /* after that: the connection is dead; 5,000 */
    const char *client_id; /* identity for the registry and the config center; gray releases match it */
    const char *labels;    /* "zone=b,app=orders": gray releases match them */
    /* An existing folder for the last known services and configurations, one file each, which are used while
     * no server answers at the start. Off by default. Files are replaced whole; a torn, changed or foreign
     * file is refused, and on_log has the reason. Contents are stored as they are: protect the folder. */
    const char *cache_dir;
    /* Reports each change of a connection, and each refusal of the stream, in order. Between two reports of
     * CAIRN_STATE_CONNECTED the client repeats failed attempts, after every state but the last: no action
     * of the program is needed. The report lives until the return. Calls return their own errors. */
    void (*on_state)(struct cairn_client *c, const struct cairn_state_change *change, void *arg);
    /* The event log: one line of text, without a line end and without secrets. Each state is a line, too. */
    void (*on_log)(struct cairn_client *c, enum cairn_log_level level, const char *line, void *arg);
    void *arg;                 /* of both. Both run on the client's thread, and may call what callbacks may */
    bool insecure_skip_verify; /* TLS without a check of the server's certificate: for tests alone */
    /* A token older than three quarters of this is renewed before its next use. 0 = a JWT's own end counts;
     * any other token is renewed when the server refuses it, and what it refused is sent again. */
    uint32_t token_lifetime_ms;
    bool no_thread; /* the program's own loop drives the client: cairn_process */
};

/* Makes a client. It does not wait for a connection: the first call reports a failed one. CAIRN_INVALID: an
 * option is wrong or the TLS files do not load. NULL options are the defaults. error may be NULL, here and
 * in all functions. */
int cairn_open(const struct cairn_options *options, struct cairn_client **ret_client,
               struct cairn_error *error);
/* Closes the client and waits for its thread:
 *
 * 1. Operations under way end with CAIRN_CLOSED; their callbacks run.
 * 2. Watches and all other objects of the client are stopped and freed.
 *
 * No other thread may still use the client. Inside a callback it returns CAIRN_INVALID and does nothing.
 * NULL is allowed. */
int cairn_close(struct cairn_client *c);
/* Changes the user and the password of a running client, for example after the password was changed on the
 * server. Calls that are sent after the return use them; NULL = no user. Registrations and subscriptions that
 * were interrupted because of the old ones begin again at once. Errors: CAIRN_CLOSED. */
int cairn_set_credentials(struct cairn_client *c, const char *user, const char *password,
                          struct cairn_error *error);
/* The connected endpoint as the options spell it; "" if there is none. Copied to ret, at most size bytes. */
void cairn_endpoint(struct cairn_client *c, char *ret, size_t size);

/* ---- a client in the program's own loop ---------------------------------------------------------------- */

/* With `no_thread` in the options the client has no thread. The thread that opened it owns it and repeats:
 *
 *     1. wait until cairn_fd is readable, cairn_timeout_ms at most (poll, epoll, libuv, libevent ...)
 *     2. cairn_process
 *
 * All callbacks run inside cairn_process, or inside a function that the owner calls to start, stop or close
 * something. On the owner's thread all waiting calls return CAIRN_INVALID: use the _async and _start functions.
 * Other threads may use the client, and wait, as long as the owner goes on. Only the owner may close it. Names
 * of hosts are still resolved by a thread of libuv. SIGPIPE is blocked while the library works. */
int cairn_fd(
    struct cairn_client *c); /* level-triggered, for reading; the same for its life. -1: it has a thread */
/* Until cairn_process must be called even though nothing is readable: 0 = at once, -1 = no limit. It changes
 * with every function that takes the client: ask for it before each wait. */
int cairn_timeout_ms(struct cairn_client *c);
/* Does all that is due, and does not wait. CAIRN_INVALID: in a callback, on another thread, or the client has a
 * thread of its own. */
int cairn_process(struct cairn_client *c);

/* Frees any result. NULL is allowed. */
void cairn_result_free(void *result);

/* ---- calls ------------------------------------------------------------------------------------------- */

/* The first field of every result. */
struct cairn_header {
    uint64_t cluster_id, member_id;
    int64_t revision;
    uint64_t raft_term;
};

/* A cancel ends the calls that were started with it. It belongs to one client, for any number of calls, and
 * is freed before that client is closed, by the program. */
struct cairn_cancel;
int cairn_cancel_new(struct cairn_client *c, struct cairn_cancel **ret); /* CAIRN_OK */
/* Ends the running calls of this cancel, and each later one. They end with CAIRN_CANCELED if the server has
 * done nothing, and writes that were sent with CAIRN_UNKNOWN. It does not wait; again changes nothing. */
void cairn_cancel_now(struct cairn_cancel *x);
void cairn_cancel_free(struct cairn_cancel *x); /* ends no call. NULL is allowed */

struct cairn_call_options {
    size_t size;                 /* sizeof(struct cairn_call_options) */
    uint32_t timeout_ms;         /* of the call with all its attempts; 0 = the client's command timeout */
    struct cairn_cancel *cancel; /* NULL = none. The call keeps it alive until it ends */
};

/* Each call has four functions:
 *
 *     int cairn_put(client, request, &result, &error);       waits; result and error may be NULL
 *     int cairn_put_async(client, request, callback, arg);   CAIRN_OK: callback runs later, exactly once
 *     cairn_put_with, cairn_put_async_with                   the same with options; NULL = the defaults
 *
 * The callback owns the result (NULL if error->code is not 0) and must free it with cairn_result_free, then
 * or later. A request may be NULL if all of its fields have a default. All four return CAIRN_INVALID if the
 * request or the options are wrong, and CAIRN_CLOSED while the client is being closed. */
#define CAIRN_CALL(name)                                                                                     \
    int cairn_##name(struct cairn_client *c, const struct cairn_##name##_request *request,                   \
                     struct cairn_##name##_result **ret, struct cairn_error *error);                         \
    int cairn_##name##_with(struct cairn_client *c, const struct cairn_##name##_request *request,            \
                            const struct cairn_call_options *options, struct cairn_##name##_result **ret,    \
                            struct cairn_error *error);                                                      \
    int cairn_##name##_async_with(                                                                           \
        struct cairn_client *c, const struct cairn_##name##_request *request,                                \
        const struct cairn_call_options *options,                                                            \
        void (*callback)(struct cairn_##name##_result * result, const struct cairn_error *error, void *arg), \
        void *arg);                                                                                          \
    int cairn_##name##_async(                                                                                \
        struct cairn_client *c, const struct cairn_##name##_request *request,                                \
        void (*callback)(struct cairn_##name##_result * result, const struct cairn_error *error, void *arg), \
        void *arg)

/* ---- keys and values --------------------------------------------------------------------------------- */

struct cairn_kv {
    struct cairn_bytes key, value;
    int64_t create_revision, mod_revision, version;
    int64_t lease; /* 0 = none */
};

enum cairn_sort_order { CAIRN_UNSORTED, CAIRN_ASCEND, CAIRN_DESCEND };
enum cairn_sort_by { CAIRN_BY_KEY, CAIRN_BY_VERSION, CAIRN_BY_CREATE, CAIRN_BY_MOD, CAIRN_BY_VALUE };

/* Three requests select keys in the same way:
 *
 * - `key` alone: this key.
 * - with `prefix`: all keys that begin with it ("" = all).
 * - with `from_key`: this key and all greater keys.
 * - with a range_end that is not empty: key <= k < range_end. */
struct cairn_range_request {
    struct cairn_bytes key, range_end;
    bool prefix, from_key;
    bool serializable; /* the connected member's state, without a quorum read */
    bool keys_only, count_only;
    int64_t limit;    /* 0 = none */
    int64_t revision; /* 0 = now */
    enum cairn_sort_order order;
    enum cairn_sort_by by;
    int64_t min_mod_revision, max_mod_revision, min_create_revision, max_create_revision;
};
struct cairn_range_result {
    struct cairn_header header;
    const struct cairn_kv *kvs;
    size_t kv_count;
    bool more;     /* `limit` left some out */
    int64_t count; /* of all matching keys */
};
CAIRN_CALL(range);

struct cairn_put_request {
    struct cairn_bytes key, value;
    int64_t lease;
    bool prev_kv, ignore_value, ignore_lease;
};
struct cairn_put_result {
    struct cairn_header header;
    const struct cairn_kv *prev_kv; /* NULL = not requested, or there was none */
};
CAIRN_CALL(put);

struct cairn_delete_request {
    struct cairn_bytes key, range_end;
    bool prefix, from_key;
    bool prev_kv;
};
struct cairn_delete_result {
    struct cairn_header header;
    int64_t deleted;
    const struct cairn_kv *prev_kvs;
    size_t prev_kv_count;
};
CAIRN_CALL(delete);

enum cairn_compare_target {
    CAIRN_COMPARE_VERSION,
    CAIRN_COMPARE_CREATE,
    CAIRN_COMPARE_MOD,
    CAIRN_COMPARE_VALUE,
    CAIRN_COMPARE_LEASE
};
enum cairn_compare_result { CAIRN_EQUAL, CAIRN_GREATER, CAIRN_LESS, CAIRN_NOT_EQUAL };
struct cairn_compare {
    struct cairn_bytes key, range_end;
    enum cairn_compare_target target;
    enum cairn_compare_result result;
    int64_t number;           /* for all targets except the value */
    struct cairn_bytes value; /* for CAIRN_COMPARE_VALUE */
};

/* One operation: exactly one of the four is not NULL. Transactions may be nested 16 deep. */
struct cairn_op {
    const struct cairn_range_request *range;
    const struct cairn_put_request *put;
    const struct cairn_delete_request *del;
    const struct cairn_txn_request *txn;
};
struct cairn_op_result {
    const struct cairn_range_result *range;
    const struct cairn_put_result *put;
    const struct cairn_delete_result *del;
    const struct cairn_txn_result *txn;
};

/* If all compares succeed, the operations of `then` run, else those of `otherwise`. A transaction of ranges
 * alone is a read: it is retried as one. */
struct cairn_txn_request {
    const struct cairn_compare *compares;
    size_t compare_count;
    const struct cairn_op *then;
    size_t then_count;
    const struct cairn_op *otherwise;
    size_t otherwise_count;
};
struct cairn_txn_result {
    struct cairn_header header;
    bool succeeded;
    const struct cairn_op_result *results; /* one for each operation of the branch that ran */
    size_t result_count;
};
CAIRN_CALL(txn);

struct cairn_compact_request {
    int64_t revision;
    bool physical; /* respond after the data is gone from the disk */
};
struct cairn_compact_result {
    struct cairn_header header;
};
CAIRN_CALL(compact);

/* ---- leases ------------------------------------------------------------------------------------------ */

struct cairn_lease_grant_request {
    int64_t ttl_seconds;
    int64_t id; /* 0 = the server chooses */
};
struct cairn_lease_grant_result {
    struct cairn_header header;
    int64_t id, ttl_seconds;
};
CAIRN_CALL(lease_grant);

struct cairn_lease_revoke_request {
    int64_t id;
};
struct cairn_lease_revoke_result {
    struct cairn_header header;
};
CAIRN_CALL(lease_revoke);

struct cairn_lease_ttl_request {
    int64_t id;
    bool keys;
};
struct cairn_lease_ttl_result {
    struct cairn_header header;
    int64_t id, ttl_seconds, granted_seconds; /* ttl_seconds -1: the lease does not exist */
    const struct cairn_bytes *keys;
    size_t key_count;
};
CAIRN_CALL(lease_ttl);

struct cairn_lease_list_request {
    int unused;
};
struct cairn_lease_list_result {
    struct cairn_header header;
    const int64_t *ids;
    size_t id_count;
};
CAIRN_CALL(lease_list);

/* ---- members ----------------------------------------------------------------------------------------- */

struct cairn_member {
    uint64_t id;
    const char *name; /* "" = the member has not started yet */
    const char *const *peer_urls;
    size_t peer_url_count;
    const char *const *client_urls;
    size_t client_url_count;
    bool is_learner;
};
/* The members, in the result of each membership call. */
struct cairn_members {
    const struct cairn_member *list;
    size_t count;
};

struct cairn_member_list_request {
    bool serializable;
};
struct cairn_member_list_result {
    struct cairn_header header;
    struct cairn_members members;
};
CAIRN_CALL(member_list);

struct cairn_member_add_request {
    const char *const *peer_urls;
    size_t peer_url_count;
    bool is_learner;
};
struct cairn_member_add_result {
    struct cairn_header header;
    struct cairn_members members; /* all of them, with the new one */
    struct cairn_member member;
};
CAIRN_CALL(member_add);

struct cairn_member_remove_request {
    uint64_t id;
};
struct cairn_member_remove_result {
    struct cairn_header header;
    struct cairn_members members;
};
CAIRN_CALL(member_remove);

struct cairn_member_update_request {
    uint64_t id;
    const char *const *peer_urls;
    size_t peer_url_count;
};
struct cairn_member_update_result {
    struct cairn_header header;
    struct cairn_members members;
};
CAIRN_CALL(member_update);

struct cairn_member_promote_request {
    uint64_t id;
};
struct cairn_member_promote_result {
    struct cairn_header header;
    struct cairn_members members;
};
CAIRN_CALL(member_promote);

/* ---- maintenance: these calls go to the connected member; for a certain member, open a client with that
 * endpoint alone ---- */

struct cairn_status_request {
    int unused;
};
struct cairn_status_result {
    struct cairn_header header; /* member_id: the member that responded */
    const char *version, *storage_version;
    int64_t db_size, db_size_in_use, db_size_quota;
    uint64_t leader; /* member id; 0 = no leader is known */
    uint64_t raft_index, raft_term, raft_applied_index;
    const char *const *errors; /* alarms, no leader */
    size_t error_count;
    bool is_learner;
};
CAIRN_CALL(status);

enum cairn_alarm_kind { CAIRN_ALARM_NONE, CAIRN_ALARM_NOSPACE, CAIRN_ALARM_CORRUPT };
enum cairn_alarm_action { CAIRN_ALARM_GET, CAIRN_ALARM_ACTIVATE, CAIRN_ALARM_DEACTIVATE };
struct cairn_alarm {
    uint64_t member_id;
    enum cairn_alarm_kind kind;
};
struct cairn_alarm_request {
    enum cairn_alarm_action action;
    uint64_t member_id; /* 0 = all */
    enum cairn_alarm_kind kind;
};
struct cairn_alarm_result {
    struct cairn_header header;
    const struct cairn_alarm *alarms;
    size_t alarm_count;
};
CAIRN_CALL(alarm);

struct cairn_defragment_request {
    int unused;
};
struct cairn_defragment_result {
    struct cairn_header header;
};
CAIRN_CALL(defragment);

struct cairn_hash_kv_request {
    int64_t revision; /* 0 = now */
};
struct cairn_hash_kv_result {
    struct cairn_header header;
    uint32_t hash;
    int64_t compact_revision, hash_revision;
};
CAIRN_CALL(hash_kv);

struct cairn_move_leader_request {
    uint64_t target; /* member id; the client must be connected to the leader */
};
struct cairn_move_leader_result {
    struct cairn_header header;
};
CAIRN_CALL(move_leader);

#undef CAIRN_CALL

/* ---- watches ----------------------------------------------------------------------------------------- */

/* A watch delivers every change of its keys once, in order, across reconnects and failures of members.
 * After a reconnect it continues after the last delivered revision. If that revision has been compacted,
 * the library reads the keys again and delivers them as one CAIRN_WATCH_RESYNC, which replaces the
 * program's older copy. */
struct cairn_watch;

struct cairn_event {
    bool is_delete;
    struct cairn_kv kv;             /* a deletion has key and mod_revision only */
    const struct cairn_kv *prev_kv; /* if requested and not compacted */
};

enum cairn_watch_kind {
    CAIRN_WATCH_EVENTS,
    CAIRN_WATCH_PROGRESS, /* no new events up to `revision` (progress_notify) */
    CAIRN_WATCH_RESYNC,   /* the events are all keys at `revision` */
    /* the server refused the watch (`error`); no more callbacks; stop it nevertheless */
    CAIRN_WATCH_ENDED
};
struct cairn_watch_update {
    enum cairn_watch_kind kind;
    int64_t revision; /* all changes up to this one have been delivered */
    const struct cairn_event *events;
    size_t event_count;
    struct cairn_error error;
};

struct cairn_watch_request {
    struct cairn_bytes key, range_end; /* as in cairn_range_request */
    bool prefix, from_key;
    int64_t start_revision; /* the first revision to deliver; 0 = only new changes */
    bool prev_kv, no_put, no_delete, progress_notify;
};
/* Starts a watch and does not wait. The update and everything in it live until the callback returns. */
int cairn_watch_start(struct cairn_client *c, const struct cairn_watch_request *request,
                      void (*callback)(struct cairn_watch *w, const struct cairn_watch_update *update,
                                       void *arg),
                      void *arg, struct cairn_watch **ret_watch, struct cairn_error *error);
/* Stops and frees the watch. After the return its callback never runs again. Allowed inside callbacks. */
void cairn_watch_stop(struct cairn_watch *w);

/* ---- keeping leases alive ----------------------------------------------------------------------------- */

/* Refreshes a lease every third of its TTL, through any member that can serve it. The callback's arguments:
 *
 * - ttl_seconds > 0: the lease was refreshed.
 * - ttl_seconds 0: the lease is lost. CAIRN_LOST: the server says so. CAIRN_TIMEOUT: no member was
 *   reachable for all of its TTL. No more callbacks, but the keepalive must still be stopped.
 *
 * Stopping does not revoke the lease. */
struct cairn_keepalive;
int cairn_keepalive_start(struct cairn_client *c, int64_t lease,
                          void (*callback)(struct cairn_keepalive *k, int64_t ttl_seconds,
                                           const struct cairn_error *error, void *arg),
                          void *arg, struct cairn_keepalive **ret_keepalive, struct cairn_error *error);
void cairn_keepalive_stop(struct cairn_keepalive *k); /* as cairn_watch_stop */

/* ---- snapshots ---------------------------------------------------------------------------------------- */

/* Reads the connected member's whole state piece by piece. It waits until all of it has arrived, without a
 * time limit. `write` runs on the client's thread; a result other than 0 ends the snapshot with CAIRN_IO. */
int cairn_snapshot(struct cairn_client *c, int (*write)(const void *data, size_t size, void *arg), void *arg,
                   uint64_t *ret_size, struct cairn_error *error);

/* ---- any other unary call ---------------------------------------------------------------------------- */

/* path is "/etcdserverpb.Auth/UserAdd"; request and response are encoded protobuf messages. is_read: the
 * call may be repeated. timeout_ms 0 = the client's command timeout. */
struct cairn_raw_result {
    struct cairn_bytes body;
};
int cairn_call(struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read,
               uint32_t timeout_ms, struct cairn_raw_result **ret, struct cairn_error *error);
int cairn_call_async(
    struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read, uint32_t timeout_ms,
    void (*callback)(struct cairn_raw_result *result, const struct cairn_error *error, void *arg), void *arg);
/* The same with options, whose timeout counts. */
int cairn_call_with(struct cairn_client *c, const char *path, struct cairn_bytes request, bool is_read,
                    const struct cairn_call_options *options, struct cairn_raw_result **ret,
                    struct cairn_error *error);

/* ---- the registry: registration ----------------------------------------------------------------------- */

/* Keeps an instance registered. It registers again after each reconnect, and again when the session was
 * lost. All instances of a client share one session, which the client's heartbeats keep alive. Other
 * clients see no change if the client reconnects within the TTL. An instance of a program that died leaves
 * traffic after `ttl_seconds`. */
struct cairn_registration;

struct cairn_register_request {
    const char *ns, *group;   /* NULL = "default" */
    const char *service, *id; /* both required; the id is unique within the service */
    const char *host;         /* required, unless json is given */
    int port;
    const char *protocol, *zone, *region, *cluster, *version;
    int weight;           /* 0 = 100, the default; for a weight of 0 use json */
    const char *tags;     /* "a,b" */
    const char *metadata; /* "key=value,key=value" */
    int ttl_seconds;      /* 0 = 15 */
    const char *json; /* the whole instance in the native API's form, instead of all fields from host on */
};
enum cairn_registration_state {
    CAIRN_REGISTERED, /* the instance is registered; reported after the start and each interruption */
    CAIRN_REGISTRATION_BROKEN, /* connection or session lost; the library registers again */
    CAIRN_REGISTRATION_REFUSED /* the instance is invalid or not allowed (`error`); no more callbacks */
};
int cairn_register_start(struct cairn_client *c, const struct cairn_register_request *request,
                         void (*callback)(struct cairn_registration *r, enum cairn_registration_state state,
                                          const struct cairn_error *error, void *arg),
                         void *arg, struct cairn_registration **ret_registration, struct cairn_error *error);
/* Deregisters the instance and waits at most the command timeout for the response. Inside a callback it
 * does not wait. It frees the registration in any case. Any result other than CAIRN_OK means that the
 * instance leaves by itself after its TTL. */
int cairn_register_stop(struct cairn_registration *r);

/* ---- the registry: discovery -------------------------------------------------------------------------- */

/* A discovery: the instances of one service, kept current in memory. */
struct cairn_discovery;

struct cairn_instance {
    const char *id, *host;
    int port;
    const char *protocol, *zone, *region, *cluster, *version; /* "" = not given */
    const char *state;                                        /* "up", "warn", "draining", "lost" ... */
    int weight;
    bool is_serving;  /* it may receive traffic */
    bool is_guarded;  /* its session ended, but a storm guard keeps it in traffic, dead or alive */
    const char *json; /* the whole instance in the native API's form */
};
struct cairn_instances {
    const struct cairn_instance *list;
    size_t count;
    int64_t revision;
    bool is_current; /* false: no data has arrived yet */
    bool is_cached;  /* read from the cache folder: no member has been reached since the start */
    /* One for each instance: ms since this client first saw it in traffic. UINT64_MAX: it was there from
     * the first state on. NULL: not known. For cairn_pick */
    const uint64_t *ages_ms;
    int64_t cache_age_ms; /* if is_cached: since its file was written, with the last change; -1 = not known */
    bool is_absent; /* the service does not exist, as of `revision`; the next state follows when it does */
};
struct cairn_discover_request {
    const char *ns, *group; /* NULL = "default" */
    const char *service;
    bool only_serving; /* leave out instances that may not receive traffic */
    bool no_guarded;   /* leave out instances that a storm guard keeps in traffic */
    /* Selectors, NULL = all: only instances with these values, with all of the tags "a,b", and with all of
     * the pairs "key=value,key=value" in their metadata. The cache folder keeps views without selectors. */
    const char *cluster, *version, *protocol, *tags, *labels;
};
/* `callback` (may be NULL) gets each state, from the first one on. It may miss states, but never the last
 * one. */
int cairn_discover_start(struct cairn_client *c, const struct cairn_discover_request *request,
                         void (*callback)(struct cairn_discovery *d, const struct cairn_instances *now,
                                          void *arg),
                         void *arg, struct cairn_discovery **ret_discovery, struct cairn_error *error);
/* The current state, without a request. The caller frees it with cairn_result_free. */
int cairn_discover_now(struct cairn_discovery *d, struct cairn_instances **ret);
void cairn_discover_stop(struct cairn_discovery *d); /* as cairn_watch_stop */

/* ---- the config center -------------------------------------------------------------------------------- */

struct cairn_config {
    const char *name, *group;
    struct cairn_bytes content; /* with a NUL behind it */
    const char *format, *md5;
    uint64_t seq;         /* of the release; 0 = there is none */
    int64_t revision;     /* of its last change; if is_deleted: it does not exist as of this one */
    bool is_deleted;      /* it does not exist, or it was deleted; the next state follows when it does */
    bool is_cached;       /* read from the cache folder: no member could be reached */
    int64_t cache_age_ms; /* if is_cached: since its file was written, with the last change; -1 = not known */
};

struct cairn_config_get_request {
    const char *ns, *group; /* NULL = "default" */
    const char *name;
    uint64_t seq; /* 0 = the release that is live for this client */
};
/* The result is a struct cairn_config. CAIRN_NOT_FOUND: there is none. If no member can be reached and
 * there is a cache folder, the result comes from there, provided that a subscription has stored it. */
int cairn_config_get(struct cairn_client *c, const struct cairn_config_get_request *request,
                     struct cairn_config **ret, struct cairn_error *error);

struct cairn_config_publish_request {
    const char *ns, *group;
    const char *name;
    struct cairn_bytes content;
    const char *format; /* NULL = derived from the name's ending */
    const char *title, *note;
    const char *if_md5; /* compare-and-swap: publish only if this content is live ... */
    uint64_t if_seq;    /* ... or this release ... */
    bool if_absent;     /* ... or nothing is live */
};
struct cairn_config_publish_result {
    int64_t revision;
    uint64_t seq;
    const char *md5;
    bool is_unchanged; /* the content was live already: nothing was written */
};
/* CAIRN_CONFLICT: the condition does not hold. CAIRN_INVALID: the content is malformed; the message has
 * line and column. */
int cairn_config_publish(struct cairn_client *c, const struct cairn_config_publish_request *request,
                         struct cairn_config_publish_result **ret, struct cairn_error *error);

/* Delivers the release that is live for this client, from the first state on. It may miss states, but never
 * the last one. */
struct cairn_config_watch;
int cairn_config_subscribe(struct cairn_client *c, const char *ns, const char *group, const char *name,
                           void (*callback)(struct cairn_config_watch *w, const struct cairn_config *config,
                                            void *arg),
                           void *arg, struct cairn_config_watch **ret_watch, struct cairn_error *error);
/* Reports to the server whether the program applied a release: `problem` NULL means that it runs with it. */
void cairn_config_applied(struct cairn_config_watch *w, uint64_t seq, const char *problem);
void cairn_config_unsubscribe(struct cairn_config_watch *w); /* as cairn_watch_stop */

/* ---- any request of the native API -------------------------------------------------------------------- */

/* HTTP to /api/v1/… and the other paths of the server. GET is retried as a read, all other methods as a
 * write. Statuses 2xx and 304 are CAIRN_OK. Any other status is an error with the server's sentence, with
 * the status in `error->status`, and without a result. */
struct cairn_http_request {
    const char *method;      /* "GET", "PUT" ... */
    const char *path;        /* "/api/v1/configs/app.yaml?namespace=prod": percent-encoded already */
    const char *fields;      /* more header fields, each ends with \r\n; NULL = none */
    struct cairn_bytes body; /* any size that the server accepts */
    uint32_t timeout_ms;     /* 0 = the client's command timeout */
};
struct cairn_http_result {
    int status;
    struct cairn_bytes body; /* with a NUL behind it */
    const char *fields;      /* the response's head, lines with \r\n */
};
int cairn_http(struct cairn_client *c, const struct cairn_http_request *request,
               struct cairn_http_result **ret, struct cairn_error *error);
/* The same with options, whose timeout counts if the request has none; and without waiting. */
int cairn_http_with(struct cairn_client *c, const struct cairn_http_request *request,
                    const struct cairn_call_options *options, struct cairn_http_result **ret,
                    struct cairn_error *error);
int cairn_http_async(struct cairn_client *c, const struct cairn_http_request *request,
                     const struct cairn_call_options *options,
                     void (*callback)(struct cairn_http_result *result, const struct cairn_error *error,
                                      void *arg),
                     void *arg);

#ifdef __cplusplus
}
#endif

#include "cairn_api.h"  /* every route of the native API */
#include "cairn_lock.h" /* locks and elections */

#endif
