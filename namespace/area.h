/* SPDX-License-Identifier: Apache-2.0
 * The areas of keys that belong to a namespace (area.def), and the role templates over them. Pure. */
#ifndef NAMESPACE_AREA_H
#define NAMESPACE_AREA_H

#include "base/buf.h"

#define NAMESPACE_PREFIX "/cairn/namespaces/"

enum namespace_area {
#define NAMESPACE_AREA(name, form, prefix, word, reader, publisher, operator, admin) AREA_##name,
#include "namespace/area.def"
#undef NAMESPACE_AREA
    AREAS
};

enum namespace_form { AREA_ALL, AREA_ONE, AREA_TRACE };
enum namespace_permission { PERMISSION_NO, PERMISSION_READ, PERMISSION_WRITE, PERMISSION_BOTH };

enum role_template {
#define ROLE_TEMPLATE(name, text, column, what) TEMPLATE_##name,
#include "namespace/template.def"
#undef ROLE_TEMPLATE
    TEMPLATES
};

struct namespace_area_row {
    enum namespace_form form;
    const char *prefix, *word;
    enum namespace_permission permissions[TEMPLATES];
};
extern const struct namespace_area_row namespace_areas[AREAS];

/* Appends the area's key of the namespace, or the prefix of its keys, which ends with '/'. */
void namespace_area_add_key(enum namespace_area a, struct slice ns, struct buf *out);
/* The same, and the end of the range; of an area of one key an empty one. Both are cleared first. */
void namespace_area_range(enum namespace_area a, struct slice ns, struct buf *ret_key, struct buf *ret_end);

const char *role_template_name(enum role_template t);
const char *role_template_purpose(enum role_template t);
/* TEMPLATES: there is none of this name. */
enum role_template role_template_find(struct slice name);

#endif
