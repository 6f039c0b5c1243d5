/* SPDX-License-Identifier: Apache-2.0
 * Areas of keys and role templates; see area.h. */
#include "namespace/area.h"

#include "base/name.h"

/* The columns of area.def are named as in template.def, in its order. */
const struct namespace_area_row namespace_areas[AREAS] = {
#define NAMESPACE_AREA(name, form, prefix, word, reader, publisher, operator, admin)                         \
    {AREA_##form, prefix, word,                                                                              \
     {PERMISSION_##reader, PERMISSION_##publisher, PERMISSION_##operator, PERMISSION_##admin } },
#include "namespace/area.def"
#undef NAMESPACE_AREA
};

static const struct {
    const char *name, *purpose;
} templates[TEMPLATES] = {
#define ROLE_TEMPLATE(name, text, column, what) {text, what},
#include "namespace/template.def"
#undef ROLE_TEMPLATE
};

void namespace_area_add_key(enum namespace_area a, struct slice ns, struct buf *out)
{
    buf_add_text(out, namespace_areas[a].prefix);
    name_add_segment(out, ns);
    if (namespace_areas[a].form != AREA_ONE)
        buf_add_byte(out, '/');
}

void namespace_area_range(enum namespace_area a, struct slice ns, struct buf *ret_key, struct buf *ret_end)
{
    buf_clear(ret_key);
    buf_clear(ret_end);
    namespace_area_add_key(a, ns, ret_key);
    if (namespace_areas[a].form == AREA_ONE)
        return;
    buf_add_slice(ret_end, buf_slice(ret_key));
    ret_end->data[ret_end->size - 1]++; /* '/' */
}

const char *role_template_name(enum role_template t)
{
    return templates[t].name;
}

const char *role_template_purpose(enum role_template t)
{
    return templates[t].purpose;
}

enum role_template role_template_find(struct slice name)
{
    for (int t = 0; t < TEMPLATES; t++)
        if (slice_equal(name, slice_text(templates[t].name)))
            return (enum role_template)t;
    return TEMPLATES;
}
