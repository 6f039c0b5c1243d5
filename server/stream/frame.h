/* SPDX-License-Identifier: Apache-2.0
 * The frames of `cairn.v1+json`: parser of the client's frames, writer of the server's frames. Pure.
 *
 * The parser is strict: it rejects an unknown type or field with its name, and every field has a limit. The
 * table of types and fields is frame.def. */
#ifndef SERVER_STREAM_FRAME_H
#define SERVER_STREAM_FRAME_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"
#include "registry/registry.h"

#define STREAM_FRAME_MAX (64 * 1024) /* bytes of a client's frame other than publish */
/* Bytes of a publish's content in the frame, as text or base64. The config center checks the content
 * itself. */
#define STREAM_CONTENT_TEXT_MAX ((uint64_t)CONFIG_CONTENT_MAX / 3 * 4 + 4)
#define STREAM_KEY_MAX          4096
#define STREAM_KNOWN_MAX        4096
#define STREAM_GROUPS_MAX       16                  /* patterns of groups in one subscription */
#define STREAM_NUMBER_MAX       ((uint64_t)1 << 53) /* exact in every JSON implementation */

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
    uint64_t seq;              /* of a configuration; 0 = not given */
    int64_t settings_revision; /* of an instance: from which it inherits; 0 = not given, nothing */
};

#define STREAM_FIELD(field) (UINT64_C(1) << (field))

/* A client's frame. Its slices are valid until stream_frame_done. */
struct stream_frame {
    enum stream_type type;
    uint64_t has; /* STREAM_FIELD of enum stream_field */
    uint32_t sid; /* 1 and up */
    uint64_t rid, window, from_revision, revision, seq, if_seq, if_revision;
    uint64_t from; /* of audit, milliseconds since 1970 */
    bool ok, is_base64, only_validate, if_absent;
    struct slice client_id, token, kind, ns, group, name, prefix, user, change_kind, id, error, content,
        format, title, note, on_behalf_of, if_md5;
    struct slice instance; /* encoded as JSON again; that of a large frame as it came, not parsed yet */
    struct document_map labels;
    struct {
        uint64_t cluster_id, revision;
    } resume;
    struct {
        uint32_t ttl_s; /* of a new session, seconds; 0: the id names one */
        int64_t id;
        struct slice key; /* with the id; empty = none */
    } session;
    struct {
        struct stream_known *list;
        size_t count;
    } known;
    struct {
        struct slice list[STREAM_GROUPS_MAX];
        size_t count;
    } groups; /* patterns; none = `group` */
    struct select_query filter;
    struct audience *audience; /* of a subscribe: set by the server from the connection; borrowed */
    /* Private to frame.c. */
    struct arena arena;
    json_t *root;
};

static inline bool stream_frame_has(const struct stream_frame *f, enum stream_field field)
{
    return f->has & STREAM_FIELD(field);
}

/* Parses a frame. On an error, `error` (at least 200 bytes) gets a sentence:
 *   ERR_MALFORMED   it is not a JSON object
 *   ERR_LIMIT       it is too large
 *   ERR_INVALID     the type or a field is wrong; sid and rid are set if they could be read
 * Call stream_frame_done in every case. */
MUST_CHECK int stream_frame_read(struct slice text, struct stream_frame *ret, char *error, size_t error_size);
void stream_frame_done(struct stream_frame *f);

const char *stream_type_name(enum stream_type type);
/* Appends the filter in canonical form: equal filters give equal bytes. */
void stream_filter_key(const struct select_query *q, struct buf *out);

/* --- the server's frames ----------------------------------------------------------------------------- */
struct stream_welcome {
    uint64_t cluster_id;
    const char *member;
    int64_t revision, session; /* session 0 = none */
    const char *session_key;   /* of a session that was opened just now; NULL = none */
    uint64_t ttl_ms, heartbeat_ms, window;
    size_t subscriptions_max, requests_max;
    uint64_t silent_ms;
};
void stream_write_welcome(struct buf *out, const struct stream_welcome *w);
/* `about`: the frame whose sid and rid (bits of has) are copied; NULL: the error is about the connection. */
void stream_write_error(struct buf *out, const struct stream_frame *about, const char *code,
                        const char *message);
void stream_write_error_sid(struct buf *out, uint32_t sid, const char *code, const char *message);
void stream_write_error_rid(struct buf *out, uint64_t rid, const char *code, const char *message);
void stream_write_mark(struct buf *out, int64_t revision);
void stream_write_resync(struct buf *out, uint32_t sid, const char *reason);
void stream_write_goaway(struct buf *out, uint64_t after_ms);
/* The result of register and deregister, with the fields of the HTTP API's responses. ttl 0 = no session. */
void stream_write_result(struct buf *out, uint64_t rid, const struct registry_result *r);
/* The result of publish; the HTTP API's `type` is `format` here. An error has line and column, and `current`
 * when a condition failed. */
void stream_write_published(struct buf *out, uint64_t rid, const struct config_result *r, bool is_checked);
void stream_write_not_published(struct buf *out, uint64_t rid, int err, const struct config_result *r);
/* The head of a frame: the shared fields, "items":[…]} or "put":[…],"delete":[…]}, follow it. */
void stream_write_snapshot_head(struct buf *out, uint32_t sid, int64_t revision, size_t part, bool is_last);
void stream_write_delta_head(struct buf *out, uint32_t sid, int64_t revision, int64_t previous);

/* "session_gone" for ERR_SESSION_GONE: the names of base/err.def are the codes. */
const char *stream_error_code(int err);

/* The resume token of an event stream, "<cluster id>:<revision>", "14841639068965178418:44".
 * ERR_MALFORMED. */
void stream_write_token(struct buf *out, uint64_t cluster_id, int64_t revision);
MUST_CHECK int stream_read_token(struct slice text, uint64_t *ret_cluster_id, int64_t *ret_revision);

#endif
