/* SPDX-License-Identifier: Apache-2.0
 * What a configuration is written in, and whether it is well formed: the door of config/format. Pure.
 *
 * A check reads the bytes once and says yes, or one sentence about the first thing wrong. It resolves and
 * rewrites nothing. Its time is linear in the size and its memory a small multiple of it, whatever the bytes
 * are; how large they may be is the caller's limit. README.md has each format's rules and how they differ
 * from others' parsers. */
#ifndef CONFIG_FORMAT_FORMAT_H
#define CONFIG_FORMAT_FORMAT_H

#include "base/buf.h"
#include "base/err.h"

#define FORMAT_DEPTH_MAX 200    /* levels of anything inside each other, in every format */
#define FORMAT_NODES_MAX 100000 /* YAML: nodes, an alias counted as what it stands for */

enum format {
#define FORMAT(name, text, type, types, endings, check) FORMAT_##name,
#include "config/format/format.def"
#undef FORMAT
    FORMATS
};

const char *format_name(enum format f);         /* "yaml" */
const char *format_content_type(enum format f); /* "application/yaml" */

/* ERR_NOT_FOUND: none is called so. */
MUST_CHECK int format_from_name(struct slice name, enum format *ret_format);

/* The format of what a client sends. The first of these that says something decides:
 *   explicit      what the client calls it; unlike the others it must be right: ERR_INVALID if there is none
 *   content_type  of the request, parameters ignored; "+json", "+yaml" and "+xml" at its end count.
 * text/plain and application/octet-stream are what programs send that do not know: they come last name its
 * ending: "app.yaml" and text if nothing does. Each may be empty. Case does not matter. */
MUST_CHECK int format_find(struct slice explicit, struct slice content_type, struct slice name,
                           enum format *ret_format);

/* Where something is wrong and what: "line 3, column 7: duplicate key \"port\", first at line 2". Lines end
 * with LF, CR LF or CR; columns count characters, and each byte that is no UTF-8 as one. Both from 1. */
struct format_error {
    size_t line, column;
    char text[320];
};

/* ERR_MALFORMED with *ret_error filled, in valid UTF-8. */
MUST_CHECK int format_check(enum format f, struct slice bytes, struct format_error *ret_error);

#endif
