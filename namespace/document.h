/* SPDX-License-Identifier: Apache-2.0
 * The JSON documents in the keys of a namespace: what it is (title, owner, labels), its quotas, and the
 * deletion under way or done. Three keys, because they have different rights and writers:
 *
 *   documents/<ns>   the admin of the namespace
 *   quotas/<ns>      an operator of the cluster: the admin of a namespace may not raise its own limits
 *   deletions/<ns>   the process: a job that the leader carries out
 *
 * Texts are canonical: equal documents are equal bytes. Pure. */
#ifndef NAMESPACE_DOCUMENT_H
#define NAMESPACE_DOCUMENT_H

#include "base/author.h"
#include "namespace/area.h"

#define NAMESPACE_TITLE_MAX       256
#define NAMESPACE_DESCRIPTION_MAX 4096
#define NAMESPACE_LABELS_MAX      32
#define NAMESPACE_LABEL_BYTES_MAX 4096       /* of all labels together */
#define NAMESPACE_DOCUMENT_MAX    (1u << 16) /* bytes of a stored text; a longer one is unreadable */

enum namespace_quota {
#define NAMESPACE_QUOTA(name, field, option, what) NAMESPACE_##name,
#include "namespace/quota.def"
#undef NAMESPACE_QUOTA
    NAMESPACE_QUOTAS
};

struct namespace_quota_row {
    const char *field, *option, *what;
};
extern const struct namespace_quota_row namespace_quotas[NAMESPACE_QUOTAS];

/* All slices lie in the arena that the document was read into. */
struct namespace_document {
    struct slice title, description, owner;
    struct document_map labels;
    struct author author;
    int64_t time_ms; /* of the last change, by its writer's clock */
};

struct namespace_limits {
    bool has[NAMESPACE_QUOTAS];       /* false: the default of the daemon */
    uint64_t value[NAMESPACE_QUOTAS]; /* 0 = no limit */
    struct author author;
    int64_t time_ms;
};

struct namespace_deletion {
    bool is_done;
    struct author author;
    int64_t time_ms, done_ms;              /* done_ms: 0 = it runs */
    uint64_t found[AREAS], removed[AREAS]; /* keys of each area */
};

/* A request of a client: the fields of a document, and quotas. */
struct namespace_change {
    struct namespace_document document;
    bool has_limits; /* false: the quotas stay as they are */
    struct namespace_limits limits;
};

/* Reads the body of a client strictly. error: at least 200 bytes. ERR_MALFORMED, ERR_INVALID. */
MUST_CHECK int namespace_change_read(struct slice text, struct arena *a, struct namespace_change *ret,
                                     char *error, size_t error_size);
/* Read stored texts tolerantly: a client of the etcd API may have written them. */
MUST_CHECK int namespace_document_read(struct slice text, struct arena *a, struct namespace_document *ret);
MUST_CHECK int namespace_limits_read(struct slice text, struct arena *a, struct namespace_limits *ret);
MUST_CHECK int namespace_deletion_read(struct slice text, struct arena *a, struct namespace_deletion *ret);

void namespace_document_write(const struct namespace_document *d, struct buf *out);
void namespace_limits_write(const struct namespace_limits *l, struct buf *out);
void namespace_deletion_write(const struct namespace_deletion *d, struct buf *out);

/* Fields alone, for readers: those of the document, an object of the quotas, an object of counts (areas
 * with 0 are left out), and those of the deletion. */
void namespace_document_write_members(const struct namespace_document *d, struct json_writer *w);
void namespace_limits_write_object(const struct namespace_limits *l, struct json_writer *w);
void namespace_counts_write(const uint64_t counts[AREAS], struct json_writer *w);
void namespace_deletion_write_members(const struct namespace_deletion *d, struct json_writer *w);

/* Equal but for author and time. */
bool namespace_document_equal(const struct namespace_document *a, const struct namespace_document *b);
bool namespace_limits_equal(const struct namespace_limits *a, const struct namespace_limits *b);
bool namespace_limits_any(const struct namespace_limits *l);
uint64_t namespace_counts_sum(const uint64_t counts[AREAS]);
/* "3 instances, 1 configuration" of what is not 0; for sentences. */
void namespace_counts_text(const uint64_t counts[AREAS], struct buf *out);

#endif
