/* SPDX-License-Identifier: Apache-2.0
 * Allow lists of the HTTP front end. */
#include "server/http/access.h"

bool http_access_allows_all(const char *list)
{
    return !list || !*list || http_access_list_has(list, slice_text("*"));
}

bool http_access_list_has(const char *list, struct slice name)
{
    if (!list || !*list)
        return true;
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        struct slice item = slice_of(at, n);
        while (item.size && *item.data == ' ')
            item = slice_of(item.data + 1, item.size - 1);
        while (item.size && item.data[item.size - 1] == ' ')
            item.size--;
        if (slice_equal(item, slice_text("*")) || (item.size && slice_equal(item, name)))
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

struct slice http_access_host_name(struct slice host)
{
    if (host.size && host.data[0] == '[') {
        const uint8_t *end = memchr(host.data, ']', host.size);
        return end ? slice_of(host.data + 1, (size_t)(end - host.data) - 1) : host;
    }
    const uint8_t *colon = host.size ? memchr(host.data, ':', host.size) : NULL;
    return colon ? slice_of(host.data, (size_t)(colon - host.data)) : host;
}

bool http_access_is_same_origin(struct slice origin, struct slice host)
{
    for (size_t i = 0; i + 3 <= origin.size; i++)
        if (memcmp(origin.data + i, "://", 3) == 0)
            return slice_equal(slice_of(origin.data + i + 3, origin.size - i - 3), host);
    return false;
}
