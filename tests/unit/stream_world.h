/* SPDX-License-Identifier: Apache-2.0
 * A store of one member, the registry, the HTTP server and the streams on one loop, for tests of streams.
 * The WebSocket clients are made by hand on the other end of socket pairs. */
#ifndef TESTS_UNIT_STREAM_WORLD_H
#define TESTS_UNIT_STREAM_WORLD_H

#include "base/json.h"
#include "base/net/output.h"
#include "registry/registry.h"
#include "server/http/deflate.h"
#include "server/http/http.h"
#include "server/rpc/rpc.h"
#include "server/stream/stream.h"
#include "tests/unit/one_node.h"

struct stream_world {
    struct one_node node;
    struct registry *registry;
    struct config *config;
    struct stream_server *stream;
    struct http_server *http;
    struct rpc_server rpc;
    struct output_budget output; /* without limits */
    bool has_users; /* set before it is opened: there is an identity and default projections; auth is off
                     until a test enables it */
    struct identity *identity;
    struct api *api; /* with has_users: the HTTP API beside the streams */
    bool is_held; /* the registry, the config center and the streams do not turn: a member that has not caught
                     up */
};

/* Waits until the registry can be read, unless is_held was set before. */
void stream_world_open(struct stream_world *w, const struct stream_options *options, const char *cors);
void stream_world_close(struct stream_world *w);
/* Users, roles and tokens; they assert success. */
void stream_world_add_user(struct stream_world *w, const char *name); /* with a role of the same name */
void stream_world_grant(struct stream_world *w, const char *role, const char *prefix, bool is_write);
void stream_world_revoke(struct stream_world *w, const char *role, const char *prefix);
void stream_world_enable(struct stream_world *w);                   /* root is added before */
char *stream_world_token(struct stream_world *w, const char *name); /* as stream_text */
void stream_world_run_ms(struct stream_world *w, uint64_t ms);

/* A request of the Auth service as the process itself, or as root while auth is enabled; it must succeed. */
void stream_world_auth(struct stream_world *w, const ProtobufCMessage *m);

/* Writes that end before they return. */
int64_t stream_world_put(struct stream_world *w, const char *service, const char *id, const char *instance);
int64_t stream_world_delete(struct stream_world *w, const char *service, const char *id);

/* The same of configurations; name: "namespace/group/name", "group/name", or in the default ones. Bytes that are no UTF-8 are bin.
 */
struct config_id stream_world_config(const char *name);
int64_t stream_world_publish(struct stream_world *w, const char *name, struct slice content);
int64_t stream_world_unpublish(struct stream_world *w, const char *name);
/* text: a rule as the HTTP API takes it, with a content if it is given here; NULL: the rule is deleted. */
int64_t stream_world_put_gray(struct stream_world *w, const char *name, const char *rule, const char *text,
                              const char *content);

/* Reads of contents that are delayed or fail, with options.read = stream_reads_read. One world at a time; it
 * begins zeroed. */
extern struct stream_reads {
    bool is_held;
    int fail; /* so many reads end as "not ready" */
    size_t count, held_count;
} stream_reads;
void stream_reads_read(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                       bool is_local);
void stream_reads_finish(size_t count); /* the oldest delayed ones */

/* As printf; the last eight texts live, of 4 KiB each at most. */
char *stream_text(const char *text, ...) __attribute__((format(printf, 1, 2)));

struct stream_client {
    struct stream_world *world;
    int fd;
    struct buf in;      /* bytes not parsed yet */
    struct buf message; /* the last one */
    bool is_closed;     /* by the other side */
    bool is_deflated;   /* as negotiated */
    uint16_t status;    /* of its close frame; 0 = none came */
    size_t compressed;  /* messages that came so */
    struct deflater *deflater;
};

/* extra: header lines, each with CRLF; connects and upgrades. */
void stream_client_open(struct stream_client *c, struct stream_world *w, const char *extra);
/* Any request; the caller reads the answer from c->in. */
void stream_client_ask(struct stream_client *c, struct stream_world *w, const char *request);
void stream_client_close(struct stream_client *c);
void stream_client_say(struct stream_client *c, const char *text); /* a text frame */
void stream_client_frame(struct stream_client *c, uint8_t first,
                         struct slice text); /* with this first byte */
/* Opens, sends hello with more fields after its type, and receives welcome. */
void stream_client_hello(struct stream_client *c, struct stream_world *w, const char *more);
void stream_client_subscribe(struct stream_client *c, int sid, const char *kind, const char *more);
/* The next message, in c->message; false: none within ms. */
bool stream_client_receives(struct stream_client *c, uint64_t ms);
const char *stream_client_next(struct stream_client *c); /* the next message; fails the test after 10 s */
void stream_client_expect(struct stream_client *c, const char *text); /* it is this; marks are skipped */
/* The next one has this type and contains this text; returned whole. */
const char *stream_client_expect_frame(struct stream_client *c, const char *type, const char *text);
void stream_client_expect_nothing(struct stream_client *c); /* for a moment, except marks */
void stream_client_expect_close(struct stream_client *c, uint16_t status);
bool stream_client_has_text(struct stream_client *c, const char *text); /* waits for it in c->in */

/* A client's state from the frames of one subscription: ids, and whether the chain of revisions held. */
struct stream_model {
    uint32_t sid;
    json_t *items; /* id -> item; NULL = no state yet */
    json_t *parts; /* of a snapshot under way */
    int64_t revision;
    size_t snapshots, deltas, resyncs;
};
/* Takes a message if it is of this subscription; fails the test if `previous` is not the last revision. */
void stream_model_take(struct stream_model *m, const char *message);
void stream_model_done(struct stream_model *m);

#endif
