/* SPDX-License-Identifier: Apache-2.0
 * The JSON documents in the config center's keys: heads, releases and drafts. The text is canonical: equal
 * documents are equal bytes. Pure.
 *
 * Clients of the etcd API may also have written the stored documents, so they are read tolerantly
 * (base/document.h). A field that does not fit makes the whole document unreadable, and it is left alone. A
 * release has the size of its content; one with a wrong size is unreadable. The reader checks digests by
 * itself where it needs to (digest_of), because that costs milliseconds. */
#ifndef CONFIG_DOCUMENT_H
#define CONFIG_DOCUMENT_H

#include "base/author.h"
#include "base/document.h"
#include "config/digest.h"
#include "config/format/format.h"
#include "config/gray.h"

#define CONFIG_HEAD_MAX    (1u << 16) /* bytes of a head, gray rules and all; a longer one is unreadable */
#define CONFIG_TITLE_MAX   256
#define CONFIG_NOTE_MAX    4096
#define CONFIG_CONTENT_MAX (64u << 20) /* bytes when reading; what may be published is an option */
/* Bytes of a release or a draft beside its content, which itself grows to 4/3 at most. */
#define CONFIG_DOCUMENT_ROOM 32768

enum config_operation {
#define OPERATION(name, text) CONFIG_##name,
#include "config/document.def"
#undef OPERATION
    CONFIG_OPERATIONS
};

/* The head names the live release. It is the only key that is watched, so it is small. The slices of all
 * three structs lie in the arena they were read into. */
struct config_head {
    uint64_t seq;      /* the live release; of a deleted item, its tombstone */
    uint64_t last_seq; /* the highest ever given; above seq when a gray release is newer */
    enum format format;
    struct digest digest; /* of the live release; empty if it is deleted */
    struct slice sealed;  /* id of the key that seals its content and keys its digest; empty = it is clear */
    uint64_t size;
    bool is_deleted;
    struct slice title; /* of the live release */
    int64_t time_ms;
    struct gray_rules gray;
};

/* Immutable. */
struct config_release {
    enum config_operation operation; /* DELETE: a tombstone, without content or digest */
    enum format format;
    struct slice content;  /* a sealed one that was not opened: content_unopened */
    struct slice sealed;   /* id of the key; empty = it is stored in clear */
    struct slice envelope; /* when reading: the sealed bytes (config/seal/seal.h) */
    size_t unopened_size;  /* of a content_unopened */
    struct slice
        encoded; /* when writing: the stored content as fields of the document (config/content.h); the
                             encoding takes milliseconds. Empty: it is encoded again. Required if sealed */
    struct digest digest; /* of a sealed one: a keyed digest (seal_digest) */
    struct slice title, note;
    struct author author;   /* empty in releases of older versions */
    int64_t time_ms;        /* since 1970, by the writer's clock */
    uint64_t previous_seq;  /* live before it; 0 = none */
    struct slice emergency; /* the reason for a publish without a review; empty = none */
    struct slice approved;  /* the user that approved it; empty = nobody had to */
    uint64_t
        origin_seq; /* the release that the content is from, of a rollback, promotion or copy; 0 = its own */
    struct slice origin_ns; /* of a copy: the namespace of that release, under the same group and name */
};

struct config_draft {
    bool is_deletion; /* publishing it deletes the configuration; it has no content */
    enum format format;
    struct slice content;
    struct slice sealed, envelope, encoded; /* as a release's */
    size_t unopened_size;
    struct slice title, note;
    struct author author;
    uint64_t base_seq; /* the live release when the draft was begun; 0 = none */
    int64_t time_ms;
};

const char *config_operation_name(enum config_operation o);

/* The data of a sealed content until it is opened (config/sealed.h): it is empty, and unopened_size has its
 * size. */
extern const uint8_t content_unopened[1];
static inline bool content_is_unopened(struct slice content)
{
    return content.data == content_unopened;
}
static inline size_t content_size(struct slice content, size_t unopened_size)
{
    return content_is_unopened(content) ? unopened_size : content.size;
}

/* error (at least 200 bytes) gets one sentence. ERR_MALFORMED: not JSON; ERR_INVALID: a field. */
MUST_CHECK int config_head_read(struct slice text, struct arena *a, struct config_head *ret, char *error,
                                size_t error_size);
MUST_CHECK int config_release_read(struct slice text, struct arena *a, struct config_release *ret,
                                   char *error, size_t error_size);
MUST_CHECK int config_draft_read(struct slice text, struct arena *a, struct config_draft *ret, char *error,
                                 size_t error_size);

void config_head_write(const struct config_head *h, struct buf *out);
void config_release_write(const struct config_release *r, struct buf *out);
void config_draft_write(const struct config_draft *d, struct buf *out);
/* The fields alone, for callers that add their own (a name, a seq); a release's with or without content. */
void config_head_write_members(const struct config_head *h, struct json_writer *w);
void config_release_write_members(const struct config_release *r, bool with_content, struct json_writer *w);

/* Check title and note from a client by the rules that hold when they are read. ERR_INVALID with a
 * sentence. */
MUST_CHECK int config_check_title(struct slice title, char *error, size_t error_size);
MUST_CHECK int config_check_note(struct slice note, char *error, size_t error_size);

#endif
