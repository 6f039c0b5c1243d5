/* SPDX-License-Identifier: Apache-2.0
 * Router: linear search in a short table, without allocation or state; see router.h. */
#include "server/http/router.h"

#include <stdio.h>

/* The length of the match; 0 = none. */
static size_t fit(const char *pattern, struct slice path)
{
    size_t n = strlen(pattern);
    if (path.size < n || memcmp(path.data, pattern, n) != 0)
        return 0;
    return path.size == n || pattern[n - 1] == '/' ? n : 0;
}

struct route_match router_find(const struct route *routes, size_t count, unsigned method, struct slice path,
                               enum http_role role)
{
    struct route_match match = {.status = 404};
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        const struct route *r = &routes[i];
        size_t n = fit(r->path, path);
        if (n == 0 || n < best || (role == HTTP_METRICS_ONLY && !(r->flags & ON_METRICS)))
            continue;
        bool is_allowed = (r->flags & ANSWERS_ALL) || (r->methods & method);
        if (n == best && !is_allowed)
            continue; /* another row of the same path may serve this method */
        best = n;
        match.status = is_allowed ? 200 : 405;
        match.route = r;
        match.rest = slice_of(path.data + n, path.size - n);
    }
    return match;
}

void router_allow(const struct route *route, char *ret_text, size_t size)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    size_t at = 0;
    ret_text[0] = 0;
    for (unsigned i = 0; i < 7 && at < size; i++) {
        if (!(route->methods & 1u << i))
            continue;
        int n = snprintf(ret_text + at, size - at, "%s%s", at ? ", " : "", names[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}
