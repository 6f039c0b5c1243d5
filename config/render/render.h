/* SPDX-License-Identifier: Apache-2.0
 * References between configurations: ${other.yaml#a.b} in a content becomes the value of that key. Pure: the caller
 * brings the contents.
 *
 *   ${name#path}                    of the group and namespace of the content in which it stands
 *   ${group/name#path}              of the namespace
 *   ${namespace/group/name#path}
 *   ${#path}                        of the content itself
 *   $${                             the two characters ${
 *
 * Every other ${…} (without #, or with { or a line break inside) stays as it is. A path is that of config/value/value.h. A string is
 * inserted as it is, any other value as JSON, and what was inserted is rendered in turn. */
#ifndef CONFIG_RENDER_RENDER_H
#define CONFIG_RENDER_RENDER_H

#include "config/value/value.h"

#define RENDER_DOCUMENTS_MAX 16 /* contents, the first one included */
#define RENDER_DEPTH_MAX     8  /* references inside what references inserted */
#define RENDER_COUNT_MAX     1000
#define RENDER_BYTES_MAX     (1u << 20)
#define RENDER_CONTENTS_MAX  (2u << 20) /* bytes of all contents together: each run reads them again */

struct render_name {
    struct slice ns, group, name;
};
struct render_document {
    struct render_name name;
    enum format format;
    struct slice content;
};

struct render_result {
    struct buf out;
    struct arena arena; /* of needed */
    struct render_name needed;
    struct format_error where; /* the place of the reference in the first content */
};

/* Renders documents[0]. ERR_NOT_READY: ret->needed is not among the documents: add it and call again. ERR_MALFORMED: a
 * reference is wrong; ERR_REQUEST_TOO_LARGE: a limit; both with ret->where. In any case render_result_done. */
MUST_CHECK int render_run(const struct render_document *documents, size_t count, struct render_result *ret);
void render_result_done(struct render_result *r);

#endif
