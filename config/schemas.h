/* SPDX-License-Identifier: Apache-2.0
 * Schemas of configurations: their document, and the view of all of them. The feed keeps the view up to date.
 *
 * A schema's key names its pattern: the name of one configuration, or the beginning of names and `*`. The most
 * specific pattern of a configuration's group decides, and it alone: its name, then the longest beginning. */
#ifndef CONFIG_SCHEMAS_H
#define CONFIG_SCHEMAS_H

#include "base/author.h"
#include "base/document.h"
#include "base/map.h"
#include "config/name.h"

#define SCHEMAS_MAX       1000       /* of a namespace */
#define SCHEMAS_BYTES_MAX (4u << 20) /* of a namespace's schemas together */

/* The document: {"schema":"{…}","author":…,"time_ms":…}. The schema is the text of its client. */
struct schema_document {
    struct slice schema;
    struct author author;
    int64_t time_ms;
};
/* ERR_MALFORMED, ERR_INVALID. */
MUST_CHECK int schema_document_read(struct slice text, struct arena *a, struct schema_document *ret);
void schema_document_write(const struct schema_document *d, struct buf *out);

struct schema_entry {
    int64_t revision; /* mod revision of the key */
    uint64_t generation;
    bool is_unreadable;          /* the document: nothing passes until it is repaired */
    struct slice group, pattern; /* in memory after the struct */
    struct slice schema;
};

struct schemas_namespace {
    struct schema_entry **list;
    size_t count, bytes;
};

struct schemas {              /* zeroed at first */
    struct strmap namespaces; /* ns -> struct schemas_namespace */
    uint64_t generation;      /* of the whole state that is being read */
    bool is_whole;
};

void schemas_begin(struct schemas *s, bool is_whole);
void schemas_put(struct schemas *s, const struct config_name *name, struct slice text, int64_t revision);
void schemas_remove(struct schemas *s, const struct config_name *name);
void schemas_end(struct schemas *s);
void schemas_done(struct schemas *s);

/* The schema of a configuration; NULL = none. */
const struct schema_entry *schemas_find(const struct schemas *s, struct slice ns, struct slice group,
                                        struct slice name);
const struct schemas_namespace *schemas_of(const struct schemas *s, struct slice ns); /* NULL = none */
/* The highest mod revision of the schemas of a namespace; 0 = there are none. */
int64_t schemas_revision(const struct schemas *s, struct slice ns);
bool schemas_matches(struct slice pattern, struct slice name);

#endif
