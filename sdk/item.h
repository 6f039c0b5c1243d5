/* SPDX-License-Identifier: Apache-2.0
 * JSON objects of the native API as structs of the public headers, and the text of its paths. Pure. */
#ifndef SDK_ITEM_H
#define SDK_ITEM_H

#include "base/json.h"
#include "sdk/private.h"

/* Copied into the arena. */
struct cairn_item item_of(const json_t *item, struct arena *a);
struct cairn_instance instance_of(const json_t *item, struct arena *a);
struct cairn_instances *instances_of_list(const json_t *list, int64_t revision, struct arena *a);
struct cairn_audit_change audit_change_of(const json_t *item, struct arena *a);
/* Copies the content; false if it is missing or not readable. */
bool item_content(const json_t *item, struct arena *a, struct cairn_bytes *ret);

void path_add_escaped(struct buf *out, const char *text); /* percent-encoded */
/* "?name=value" or "&name=value"; nothing if the value is NULL or "". */
void path_add_parameter(struct buf *out, const char *name, const char *value);

#endif
