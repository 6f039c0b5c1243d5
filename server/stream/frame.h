/* SPDX-License-Identifier: Apache-2.0
 * The frames of `cairn.v1+json`: what clients send, read strictly (an unknown type or field is refused by
 * name, everything has a limit), and what the server sends, written. Pure. The table is frame.def. */
#ifndef SERVER_STREAM_FRAME_H
#define SERVER_STREAM_FRAME_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"
#include "registry/registry.h"

#define STREAM_FRAME_MAX (64 * 1024) /* bytes of a client's frame */
/* The content of a publish is the config center's to judge; as text it is at most this, be it base64. */
#define STREAM_CONTENT_TEXT_MAX ((uint64_t)CONFIG_CONTENT_MAX / 3 * 4 + 4)
#define STREAM_KEY_MAX          4096
#define STREAM_KNOWN_MAX        4096
#define STREAM_NUMBER_MAX       ((uint64_t)1 << 53) /* what every client's JSON can hold */

enum stream_type {
#define TYPE(id, name, need, must, may) STREAM_##id,
#include "server/stream/frame.def"
    STREAM_TYPES
};

enum stream_field {
#define FIELD(id, name, how, member, limit) STREAM_HAS_##id,
#include "server/stream/frame.def"
    STREAM_FIELDS
};

struct stream_known {
    struct slice id;
    int64_t revision;
    uint64_t seq; /* of a configuration; 0 = not said */
};

/* Slices lie in the frame; done frees all of it. */
struct stream_frame {
    enum stream_type type;
    uint32_t has; /* bits of enum stream_field */
    uint32_t sid; /* 1 and up */
    uint64_t rid, window, from_revision, revision, seq, if_seq, if_revision;
    bool ok, is_base64, only_validate, if_absent;
    struct slice client_id, token, kind, ns, group, name, prefix, id, error, content, format, title, note,
        if_md5;
    struct slice instance; /* as JSON again */
    struct document_map labels;
    struct {
        uint64_t cluster_id, revision;
    } resume;
    struct {
        uint32_t ttl_s; /* 0: the id is given */
        int64_t id;
        struct slice key; /* with the id; empty = none */
    } session;
    struct {
        struct stream_known *list;
        size_t count;
    } known;
    struct select_query filter;
    struct audience *audience; /* of a subscribe: its connection's, not the client's word; borrowed */
    /* The reader's own. */
    struct arena arena;
    json_t *root;
};

static inline bool stream_frame_has(const struct stream_frame *f, enum stream_field field)
{
    return f->has & 1u << field;
}

/* error (at least 200 bytes) gets a sentence. ERR_MALFORMED: no JSON object; ERR_LIMIT: too large;
 * ERR_INVALID: the type or a field. sid and rid are set if they could be read. done in every case. */
MUST_CHECK int stream_frame_read(struct slice text, struct stream_frame *ret, char *error, size_t error_size);
void stream_frame_done(struct stream_frame *f);

const char *stream_type_name(enum stream_type type);
/* The filter as one text for one meaning: for equal filters, equal bytes. */
void stream_filter_key(const struct select_query *q, struct buf *out);

/* --- the server's frames -------------------------------------------------------------------------- */
struct stream_welcome {
    uint64_t cluster_id;
    const char *member;
    int64_t revision, session; /* session 0 = none */
    const char *session_key;   /* of one that was opened; NULL = none */
    uint64_t ttl_ms, heartbeat_ms, window;
    size_t subscriptions_max, requests_max;
    uint64_t silent_ms;
};
void stream_write_welcome(struct buf *out, const struct stream_welcome *w);
/* About a frame that had a sid or rid (bits of has), or about the connection. */
void stream_write_error(struct buf *out, const struct stream_frame *about, const char *code,
                        const char *message);
void stream_write_error_sid(struct buf *out, uint32_t sid, const char *code, const char *message);
void stream_write_error_rid(struct buf *out, uint64_t rid, const char *code, const char *message);
void stream_write_mark(struct buf *out, int64_t revision);
void stream_write_resync(struct buf *out, uint32_t sid, const char *reason);
void stream_write_goaway(struct buf *out, uint64_t after_ms);
/* register, deregister: as the answers of the HTTP API. ttl 0 = without a session. */
void stream_write_result(struct buf *out, uint64_t rid, const struct registry_result *r);
/* publish: likewise; what is called type there is `format` here. An error has line and column, and what
 * stands against it. */
void stream_write_published(struct buf *out, uint64_t rid, const struct config_result *r, bool is_checked);
void stream_write_not_published(struct buf *out, uint64_t rid, int err, const struct config_result *r);
/* What comes before the members that many share: "items":[…]} and "put":[…],"delete":[…]}. */
void stream_write_snapshot_head(struct buf *out, uint32_t sid, int64_t revision, size_t part, bool is_last);
void stream_write_delta_head(struct buf *out, uint32_t sid, int64_t revision, int64_t previous);

/* "session_gone" for ERR_SESSION_GONE: the names of base/err.def are the codes. */
const char *stream_error_code(int err);

/* The token of an event stream, "14841639068965178418:44". ERR_MALFORMED. */
void stream_write_token(struct buf *out, uint64_t cluster_id, int64_t revision);
MUST_CHECK int stream_read_token(struct slice text, uint64_t *ret_cluster_id, int64_t *ret_revision);

#endif
