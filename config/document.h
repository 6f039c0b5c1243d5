/* SPDX-License-Identifier: Apache-2.0
 * What the config center's keys hold: heads, releases and drafts, as JSON. One canonical text for one
 * content, so that equal documents are equal bytes. Pure.
 *
 * They stand in the store, where somebody may have written them through the etcd API: they are read
 * tolerantly (base/document.h); what does not fit makes the whole document unreadable, and it is left alone.
 * A release says the size of its content, and one that lies about it is unreadable; whether the digests are
 * those of the content is for the reader to ask (digest_of), because it costs milliseconds. */
#ifndef CONFIG_DOCUMENT_H
#define CONFIG_DOCUMENT_H

#include "base/document.h"
#include "config/digest.h"
#include "config/format/format.h"
#include "config/gray.h"

#define CONFIG_HEAD_MAX    (1u << 16) /* bytes of a head, gray rules and all; a longer one is unreadable */
#define CONFIG_TITLE_MAX   256
#define CONFIG_NOTE_MAX    4096
#define CONFIG_CONTENT_MAX (64u << 20) /* when reading: what may be published is an option */
/* What a release or a draft needs beside its content, which itself grows to 4/3 at most. */
#define CONFIG_DOCUMENT_ROOM 32768

enum config_operation {
#define OPERATION(name, text) CONFIG_##name,
#include "config/document.def"
#undef OPERATION
    CONFIG_OPERATIONS
};

/* What is live: the only key that is watched, so it is small. Slices of all three lie in the arena they were
 * read into. */
struct config_head {
    uint64_t seq;      /* the live release; of a deleted item, its tombstone */
    uint64_t last_seq; /* the highest ever given; above seq when a gray release is newer */
    enum format format;
    struct digest digest; /* of the live release; empty if it is deleted */
    uint64_t size;
    bool is_deleted;
    struct slice title; /* of the live release */
    int64_t time_ms;
    struct gray_rules gray;
};

/* Immutable. It names no author: the log of the node does. */
struct config_release {
    enum config_operation operation; /* DELETE: a tombstone, without content or digest */
    enum format format;
    struct slice content;
    struct slice encoded; /* when writing: the content as members of the document (config/content.h), which
                             costs milliseconds; empty: it is worked out anew */
    struct digest digest;
    struct slice title, note;
    int64_t time_ms;       /* since 1970, as its writer's clock had it */
    uint64_t previous_seq; /* live before it; 0 = none */
    uint64_t origin_seq;   /* ROLLBACK, PROMOTE: the release whose content it has; 0 = its own */
};

struct config_draft {
    enum format format;
    struct slice content;
    struct slice encoded; /* as a release's */
    struct slice title, note;
    uint64_t base_seq; /* live when it was begun; 0 = none */
    int64_t time_ms;
};

const char *config_operation_name(enum config_operation o);

/* error (at least 200 bytes) gets one sentence. ERR_MALFORMED: no JSON; ERR_INVALID: a field. */
MUST_CHECK int config_head_read(struct slice text, struct arena *a, struct config_head *ret, char *error,
                                size_t error_size);
MUST_CHECK int config_release_read(struct slice text, struct arena *a, struct config_release *ret,
                                   char *error, size_t error_size);
MUST_CHECK int config_draft_read(struct slice text, struct arena *a, struct config_draft *ret, char *error,
                                 size_t error_size);

void config_head_write(const struct config_head *h, struct buf *out);
void config_release_write(const struct config_release *r, struct buf *out);
void config_draft_write(const struct config_draft *d, struct buf *out);
/* The members alone, for who adds members of his own (a name, a seq); a release's with or without content. */
void config_head_write_members(const struct config_head *h, struct json_writer *w);
void config_release_write_members(const struct config_release *r, bool with_content, struct json_writer *w);

/* What a client says of a release or draft beside its content: title and note, checked as they are read.
 * ERR_INVALID with a sentence. */
MUST_CHECK int config_check_title(struct slice title, char *error, size_t error_size);
MUST_CHECK int config_check_note(struct slice note, char *error, size_t error_size);

#endif
