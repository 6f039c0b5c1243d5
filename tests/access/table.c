/* SPDX-License-Identifier: Apache-2.0
 * The table of permissions, joined from the tables of operations.
 *
 * Invariant: every operation has a row. Tables that are .def files demand the column, so a row without it
 * does not compile. Enumerations go through a switch without default, and -Wswitch is an error here: a
 * new kind of message without a permission does not compile either. */
#include "tests/access/table.h"

#include <stdio.h>

#include "consensus/kv.h"
#include "consensus/node/snapshot_wire.h"
#include "consensus/peer/codec.h"
#include "consensus/peer/peer_wire.h"
#include "proto/peer.pb-c.h"
#include "server/api/table.h"
#include "server/dns/dns_wire.h"
#include "server/http/router.h"
#include "server/rpc/rpc.h"
#include "server/stream/frame.h"

#pragma GCC diagnostic error "-Wswitch"
#pragma GCC diagnostic error "-Wswitch-enum"
#pragma GCC diagnostic error "-Wreturn-type"

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum { VALUES = 256 }; /* the values of each enumeration that are tried: each is a byte on the wire */

const struct access_surface_row access_surfaces[SURFACE_COUNT] = {
#define SURFACE(id, name, port, plain, certificate, what) {#id, name, port, plain, certificate, what},
#include "tests/access/surface.def"
#undef SURFACE
};

const struct access_text access_texts[ACCESS_COUNT] = {
#define ACCESS(id, title, callers, text) {#id, title, callers, text},
#include "base/access.def"
#undef ACCESS
};

struct walk {
    void (*fn)(void *arg, const struct access_row *row);
    void *arg;
};

static void row(const struct walk *w, enum access_surface surface, const char *operation, const char *path,
                enum access need, const char *what)
{
    const struct access_row r = {surface, operation, path, need, what};
    w->fn(w->arg, &r);
}

/* --- the client port ------------------------------------------------------------------------------------ */

static void methods(const struct walk *w)
{
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++)
        row(w, SURFACE_GRPC, strchr(m->path, '.') ? m->path + 1 : m->path, m->path, m->need, "");
    for (size_t i = 0; (m = rpc_method_at(i)); i++)
        if (m->gateway)
            row(w, SURFACE_GATEWAY, m->path + 1, m->gateway, m->need, "");
}

static void native_routes(const struct walk *w)
{
    for (size_t i = 0; i < api_route_count; i++) {
        const struct api_route *r = &api_routes[i];
        char method[32], operation[128];
        api_methods_text(r->method, method, sizeof method);
        snprintf(operation, sizeof operation, "%s %s", method, r->path);
        row(w, SURFACE_NATIVE, operation, r->path, api_route_need(r), r->name);
    }
}

static void process_routes(const struct walk *w)
{
    static const struct {
        const char *path;
        unsigned flags;
        enum access need;
    } routes[] = {
#define ROUTE(methods, path, handler, flags, need) {path, flags, ACCESS_##need},
#include "server/http/routes.def"
#undef ROUTE
    };
    for (size_t i = 0; i < COUNT(routes); i++) {
        char operation[80];
        if (routes[i].need == ACCESS_METHOD)
            continue; /* the gateway's rows are the methods' */
        snprintf(operation, sizeof operation, "GET %s", routes[i].path);
        row(w, SURFACE_PROCESS, operation, routes[i].path, routes[i].need,
            routes[i].flags & ON_METRICS ? "also on --listen-metrics-urls" : "");
    }
}

static void console_files(const struct walk *w)
{
    row(w, SURFACE_CONSOLE, "GET /ui/", "/ui/", ACCESS_OPEN, "");
#define CONSOLE_FILE(id, name, type) row(w, SURFACE_CONSOLE, "GET /ui/" name, "/ui/" name, ACCESS_OPEN, "");
#include "server/http/console/console.def"
#undef CONSOLE_FILE
}

static void streams(const struct walk *w)
{
#define TYPE(id, name, need, must, may) row(w, SURFACE_STREAM, name, "/api/v1/stream", ACCESS_##need, "");
#include "server/stream/frame.def"
#define KIND(name, how, need, what)                                                                          \
    row(w, SURFACE_STREAM, "subscribe " name, "/api/v1/stream", ACCESS_##need, what);
#include "server/stream/kind.def"
#undef KIND
#define KIND(name, how, need, what) row(w, SURFACE_EVENTS, name, "/api/v1/stream", ACCESS_##need, what);
#include "server/stream/kind.def"
#undef KIND
}

/* --- DNS ------------------------------------------------------------------------------------------------ */

/* NULL: a record type of responses only, which no query names. */
static const char *dns_question(enum dns_type type)
{
    switch (type) {
    case DNS_A:
        return "A";
    case DNS_AAAA:
        return "AAAA";
    case DNS_SRV:
        return "SRV";
    case DNS_TXT:
        return "TXT";
    case DNS_ANY:
        return "ANY";
    case DNS_NS:
        return "NS";
    case DNS_SOA:
        return "SOA";
    case DNS_PTR:
        return "PTR";
    case DNS_CNAME:
    case DNS_HINFO:
    case DNS_OPT:
    case DNS_META_FIRST:
    case DNS_IXFR:
    case DNS_AXFR:
        return NULL;
    }
    return NULL;
}

static void dns_questions(const struct walk *w)
{
    for (int type = 0; type < VALUES; type++) {
        const char *name = dns_question((enum dns_type)type);
        if (name)
            row(w, SURFACE_DNS, name, "", ACCESS_ANONYMOUS, "");
    }
}

/* --- the peer port -------------------------------------------------------------------------------------- */

static void queries(const struct walk *w)
{
    for (int i = 0; i < VALUES; i++) {
        Peerpb__BootstrapQuery__Kind kind = (Peerpb__BootstrapQuery__Kind)i;
        switch (kind) {
        case PEERPB__BOOTSTRAP_QUERY__KIND__WHO:
            row(w, SURFACE_QUERY, "WHO", "", ACCESS_PEER_OPEN,
                "which member is this, and which others does it know");
            break;
        case PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM:
            row(w, SURFACE_QUERY, "CLAIM", "", ACCESS_PEER_ADDED,
                "start as a member that was added and never ran");
            break;
        case PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE:
            row(w, SURFACE_QUERY, "REPLACE", "", ACCESS_PEER_ADDED, "replace a member that lost its disk");
            break;
        case PEERPB__BOOTSTRAP_QUERY__KIND__ADD:
            row(w, SURFACE_QUERY, "ADD", "", ACCESS_PEER_JOIN, "join without a MemberAdd by the operator");
            break;
        case _PEERPB__BOOTSTRAP_QUERY__KIND_IS_INT_SIZE:
            break;
        }
    }
}

/* The frames of a peer connection. Its stage decides which of them may come next. */
static void frames(const struct walk *w)
{
    for (int i = 0; i < VALUES; i++) {
        enum wire_kind kind = (enum wire_kind)i;
        switch (kind) {
        case WIRE_HELLO:
            row(w, SURFACE_PEER, "HELLO", "", ACCESS_PEER_OPEN,
                "opens a connection; the proof comes with it");
            break;
        case WIRE_HELLO_REPLY:
            row(w, SURFACE_PEER, "HELLO_REPLY", "", ACCESS_PEER_OPEN, "accepts or refuses");
            break;
        case WIRE_MESSAGE:
            row(w, SURFACE_PEER, "MESSAGE", "", ACCESS_PEER_MEMBER, "on a stream");
            break;
        case WIRE_PING:
            row(w, SURFACE_PEER, "PING", "", ACCESS_PEER_MEMBER, "on a stream");
            break;
        case WIRE_PONG:
            row(w, SURFACE_PEER, "PONG", "", ACCESS_PEER_MEMBER, "on a stream");
            break;
        case WIRE_QUERY:
            row(w, SURFACE_PEER, "QUESTION", "", ACCESS_PEER_OPEN,
                "a bootstrap query, which needs its own proof");
            break;
        case WIRE_ANSWER:
            row(w, SURFACE_PEER, "ANSWER", "", ACCESS_PEER_OPEN, "to the question on the same connection");
            break;
        case WIRE_CHALLENGE:
            row(w, SURFACE_PEER, "CHALLENGE", "", ACCESS_PEER_OPEN,
                "a nonce, and the dialed member's own proof");
            break;
        case WIRE_PROOF:
            row(w, SURFACE_PEER, "PROOF", "", ACCESS_PEER_OPEN, "the dialer's proof");
            break;
        case WIRE_CONFIRM:
            row(w, SURFACE_PEER, "CONFIRM", "", ACCESS_PEER_OPEN,
                "a dial-back: did you open this connection");
            break;
        case WIRE_CONFIRMED:
            row(w, SURFACE_PEER, "CONFIRMED", "", ACCESS_PEER_OPEN,
                "yes once for each own connection, else no");
            break;
        }
    }
}

static void raft_messages(const struct walk *w)
{
#define MESSAGE(name, etcd_name, local, response)                                                            \
    row(w, SURFACE_MESSAGE, #etcd_name, "", (local) ? ACCESS_PEER_NEVER : ACCESS_PEER_MEMBER, "raft");
#include "consensus/raft/message.def"
#undef MESSAGE
}

static void member_rpcs(const struct walk *w)
{
#define CALL(id, number, what) row(w, SURFACE_MESSAGE, #id, "", ACCESS_PEER_MEMBER, what);
#include "consensus/call.def"
#undef CALL
    for (int i = 0; i < VALUES; i++) {
        enum kv_topic topic = (enum kv_topic)i;
        switch (topic) {
        case KV_TOPIC_SUBSCRIBERS:
            row(w, SURFACE_MESSAGE, "SUBSCRIBERS", "", ACCESS_PEER_MEMBER,
                "subscribers of a service on a member");
            break;
        case KV_TOPIC_LISTENERS:
            row(w, SURFACE_MESSAGE, "LISTENERS", "", ACCESS_PEER_MEMBER,
                "listeners of a configuration on a member");
            break;
        case KV_TOPIC_LEVEL:
            row(w, SURFACE_MESSAGE, "LEVEL", "", ACCESS_PEER_MEMBER, "the feature level that a member has");
            break;
        case KV_TOPIC_CHECKS:
            row(w, SURFACE_MESSAGE, "CHECKS", "", ACCESS_PEER_MEMBER,
                "the members among which health checks are divided");
            break;
        case KV_TOPIC_REPORTS:
            row(w, SURFACE_MESSAGE, "REPORTS", "", ACCESS_PEER_MEMBER,
                "whether the other member holds the TTL checks for which reports have come");
            break;
        }
    }
}

static void snapshots(const struct walk *w)
{
    for (int i = 0; i < VALUES; i++) {
        enum snapshot_kind kind = (enum snapshot_kind)i;
        switch (kind) {
        case SNAPSHOT_OFFER:
            row(w, SURFACE_MESSAGE, "SNAPSHOT_OFFER", "", ACCESS_PEER_MEMBER, "snapshot transfer");
            break;
        case SNAPSHOT_PIECE:
            row(w, SURFACE_MESSAGE, "SNAPSHOT_PIECE", "", ACCESS_PEER_MEMBER, "snapshot transfer");
            break;
        case SNAPSHOT_ANSWER:
            row(w, SURFACE_MESSAGE, "SNAPSHOT_ANSWER", "", ACCESS_PEER_MEMBER, "snapshot transfer");
            break;
        }
    }
}

/* The kinds of messages on a stream. Those with rows of their own are walked here so that none is missing. */
static void messages(const struct walk *w)
{
    for (int i = 0; i < VALUES; i++) {
        enum codec_kind kind = (enum codec_kind)i;
        switch (kind) {
        case CODEC_RAFT:
            raft_messages(w);
            break;
        case CODEC_CALL:
            member_rpcs(w);
            break;
        case CODEC_SNAPSHOT:
            snapshots(w);
            break;
        case CODEC_HASH:
            row(w, SURFACE_MESSAGE, "HASH", "", ACCESS_PEER_MEMBER, "compares members' states");
            break;
        case CODEC_REPLY:  /* answers of CALL */
        case CODEC_ASK:    /* the topics */
        case CODEC_ANSWER: /* answers of ASK */
            break;
        }
    }
}

void access_rows_each(void (*fn)(void *arg, const struct access_row *row), void *arg)
{
    const struct walk w = {fn, arg};
    methods(&w);
    native_routes(&w);
    streams(&w);
    process_routes(&w);
    console_files(&w);
    dns_questions(&w);
    queries(&w);
    frames(&w);
    messages(&w);
}
