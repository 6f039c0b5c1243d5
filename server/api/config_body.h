/* SPDX-License-Identifier: Apache-2.0
 * Request bodies of the config center's routes, read strictly: an unknown field is refused by name. (Gray
 * rules: config/gray.h.) Pure. */
#ifndef SERVER_API_CONFIG_BODY_H
#define SERVER_API_CONFIG_BODY_H

#include "base/json.h"
#include "config/config.h"

/* error has 200 bytes and gets one sentence; the result lies in the arena. ERR_INVALID, ERR_MALFORMED. */

struct api_annotation { /* of a rollback, a draft's publish, a promotion, a review */
    int64_t seq;
    struct slice title, note;
    bool has_at;
    int64_t at_ms;          /* of a scheduled publish */
    int64_t draft_revision; /* of a review */
};
enum api_annotation_kind {
    ANNOTATION_NOTE,
    ANNOTATION_SEQ,     /* also seq, which must be there */
    ANNOTATION_PUBLISH, /* also title and at */
    ANNOTATION_REVIEW,  /* also draft_revision, which must be there */
};
MUST_CHECK int api_annotation_read(struct slice body, enum api_annotation_kind kind, struct arena *a,
                                   struct api_annotation *ret, char *error);

struct api_bundle {
    bool only_validate; /* set it before: then nothing is written */
    struct config_publish *publish;
    struct config_remove *remove;
    size_t publish_count, remove_count;
};
/* standard: default namespace and group. */
MUST_CHECK int api_bundle_read(json_t *root, const struct config_id *standard, struct arena *a,
                               struct api_bundle *b, char *error);

/* A promotion of configurations from one namespace to another. */
struct api_promotion {
    struct slice from, to, note;
    struct config_copied *list;
    size_t count;
};
/* group: that of an item without one. */
MUST_CHECK int api_promotion_read(json_t *root, struct slice group, struct arena *a,
                                  struct api_promotion *ret, char *error);

#endif
