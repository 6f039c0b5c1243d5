/* SPDX-License-Identifier: Apache-2.0
 * Documents in the registry's keys, as JSON: instances, overrides, settings of services, sessions.
 *
 * One canonical text for one content, so that equal documents are equal bytes. Pure. base/document.h reads
 * them:
 *   - strict for clients: fields in wrong places are errors too;
 *   - tolerant for the store, where a wrong value makes the whole document unreadable. */
#ifndef REGISTRY_DOCUMENT_H
#define REGISTRY_DOCUMENT_H

#include "base/author.h"
#include "base/document.h"
#include "registry/check.h"
#include "registry/session_key.h"

#define INSTANCE_WEIGHT       100
#define INSTANCE_WEIGHT_MAX   65535
#define INSTANCE_TTL_S        15
#define INSTANCE_TTL_MIN_S    3
#define INSTANCE_GRACE_S      15
#define INSTANCE_TIME_MAX_S   86400
#define INSTANCE_PORTS_MAX    32
#define INSTANCE_TAGS_MAX     64
#define INSTANCE_METADATA_MAX 8192 /* bytes of keys and values together */
#define SETTINGS_METADATA_MAX 8192
#define LABELS_MAX            64

struct instance_port {
    struct slice name;
    uint16_t port;
};

/* Slices lie in the arena it was read into. */
struct instance {
    struct slice host, protocol, zone, region, cluster, version;
    uint16_t port;               /* the only one, or the first of ports; 0 = none */
    struct instance_port *ports; /* named ports, sorted by name; none when `port` was given alone */
    size_t port_count;
    uint16_t weight;
    struct slice *tags; /* sorted, none twice */
    size_t tag_count;
    struct document_map metadata; /* sorted by key */
    uint32_t ttl_s, grace_s;
    enum instance_state state;
    struct check *check; /* members check it, and it has no session; NULL = none */
    bool is_guarded;     /* its session ended with many others: the storm guard holds it in traffic */
    int64_t session;     /* the lease of its session; 0 = none: the instance stays until it is deleted */
    struct slice source; /* empty = registered here; else the layout it was projected from */
    struct slice origin; /* with a source: the key it was projected from. Not in the document. */
    uint32_t snapshots;  /* of a catalog's document: how many snapshots hold it beside the catalog */
};

struct override {
    bool has_enabled, is_enabled;
    bool has_weight;
    uint16_t weight;
    bool has_state;
    enum instance_state state;
    struct slice reason;
    int64_t until_s;      /* the time when it ends, in seconds since 1970; 0 = never */
    bool is_drain;        /* the state is a drain's: it ends with the registration that was drained */
    struct author author; /* of its last change; empty in documents of older versions, as time_ms */
    int64_t time_ms;
    uint32_t snapshots; /* as an instance's */
};

struct settings {
    double protect_threshold; /* 0 to 1 */
    struct document_map metadata;
    bool is_inherited;    /* its instances have the metadata too (inherit.h); no client can write it */
    struct author author; /* of its last change; empty in documents of older versions, as time_ms */
    int64_t time_ms;
};

struct session {
    struct slice client_id;
    uint32_t ttl_s;
    struct document_map labels;
    bool is_implicit;   /* made for one instance alone, and ends with it */
    struct slice owner; /* the user that opened it; empty = not known */
    bool has_key;       /* its opener was given a session key */
    uint8_t key_digest[SESSION_DIGEST_SIZE];
};

/* error (at least 200 bytes) gets one sentence that names the field. ERR_MALFORMED: no JSON (with line and
 * column); ERR_INVALID: a field. A client cannot set session, guarded, checked, source, implicit, owner,
 * key_sha256, drain, inherit, author, on_behalf_of, address, time_ms, or the state `lost`. */
MUST_CHECK int instance_read(struct slice text, enum document_reading how, struct arena *a,
                             struct instance *ret, char *error, size_t error_size);
/* An element of a list that a client sent: the names of the instance beside the fields of its document, without
 * ttl. Names that are absent stay as they are in *names. */
struct instance_names {
    struct slice ns, group, service, id;
};
MUST_CHECK int instance_read_item(struct slice text, struct arena *a, struct instance_names *names,
                                  struct instance *ret, char *error, size_t error_size);
MUST_CHECK int override_read(struct slice text, enum document_reading how, struct arena *a,
                             struct override *ret, char *error, size_t error_size);
MUST_CHECK int settings_read(struct slice text, enum document_reading how, struct arena *a,
                             struct settings *ret, char *error, size_t error_size);
/* A report for a TTL check, {"state":"up|warn|down","output":"text"}: only a client gives one, and no key holds it. */
MUST_CHECK int report_read(struct slice text, struct arena *a, enum instance_state *ret_state,
                           struct slice *ret_output, char *error, size_t error_size);
MUST_CHECK int session_read(struct slice text, enum document_reading how, struct arena *a,
                            struct session *ret, char *error, size_t error_size);

#define OVERRIDE_DRAIN "drain" /* a drain's reason where the operator gave none */
/* The override without its drain. False: nothing is left. */
bool override_without_drain(const struct override *o, struct override *ret);

void instance_write(const struct instance *i, struct buf *out);
/* The fields alone, without braces, for a caller that adds fields: an id, the view's. */
void instance_write_members(const struct instance *i, struct json_writer *w);
void override_write(const struct override *o, struct buf *out);
void settings_write(const struct settings *s, struct buf *out);
/* For readers: without the address of the author. */
void override_write_view(const struct override *o, struct buf *out);
void settings_write_view(const struct settings *s, struct buf *out);
void session_write(const struct session *s, struct buf *out);

/* A copy in one block; the caller frees it with mem_free. */
struct instance *instance_copy(const struct instance *i);
struct override *override_copy(const struct override *o);

#endif
