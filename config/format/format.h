/* SPDX-License-Identifier: Apache-2.0
 * Formats of configurations: which one a content has, and whether it is well formed. The public API of
 * config/format. Pure.
 *
 * A check reads the bytes once and succeeds, or gives one sentence about the first fault. It resolves and
 * rewrites nothing. Its time is linear in the size and its memory a small multiple of it, for any bytes. The
 * caller limits the size. README.md has each format's rules and the differences from other parsers. */
#ifndef CONFIG_FORMAT_FORMAT_H
#define CONFIG_FORMAT_FORMAT_H

#include "base/buf.h"
#include "base/err.h"

#define FORMAT_DEPTH_MAX 200    /* levels of anything inside each other, in every format */
#define FORMAT_NODES_MAX 100000 /* YAML: nodes, an alias counted as its target */

enum format {
#define FORMAT(name, text, type, types, endings, check) FORMAT_##name,
#include "config/format/format.def"
#undef FORMAT
    FORMATS
};

const char *format_name(enum format f);         /* "yaml" */
const char *format_content_type(enum format f); /* "application/yaml" */

/* ERR_NOT_FOUND: there is no format of this name. */
MUST_CHECK int format_from_name(struct slice name, enum format *ret_format);

/* The format of what a client sends. The first of these that names one decides:
 *   1. explicit      the client's own choice; it must be valid: else ERR_INVALID
 *   2. content_type  of the request, parameters ignored; the endings "+json", "+yaml" and "+xml" count.
 *                    text/plain and application/octet-stream are ignored here: programs send them by default
 *   3. name          its ending: "app.yaml"
 *   4. content_type  text/plain or application/octet-stream
 *   5. text
 * Each may be empty. Case does not matter. */
MUST_CHECK int format_find(struct slice explicit, struct slice content_type, struct slice name,
                           enum format *ret_format);

/* The place and kind of the first fault: "line 3, column 7: duplicate key \"port\", first at line 2". Lines
 * end with LF, CR LF or CR; columns count characters, a byte that is no UTF-8 as one. Both begin at 1. */
struct format_error {
    size_t line, column;
    char text[320];
};

/* ERR_MALFORMED with *ret_error filled, in valid UTF-8. */
MUST_CHECK int format_check(enum format f, struct slice bytes, struct format_error *ret_error);

/* The line and column of a byte, as in errors. */
void format_place(struct slice text, size_t offset, size_t *ret_line, size_t *ret_column);

#endif
