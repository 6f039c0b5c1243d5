/* SPDX-License-Identifier: Apache-2.0
 * Endpoints as users write them: "host:port,[::1]:port,https://host:port/". Pure. */
#include <stdio.h>

#include "base/text.h"
#include "sdk/private.h"

static int parse_one(struct slice s, struct endpoint *e, bool *ret_tls, struct cairn_error *error)
{
    struct buf text = {0};
    struct url u;
    bool has_scheme = memmem(s.data, s.size, "://", 3) != NULL;
    buf_add_text(&text, has_scheme ? "" : "http://");
    buf_add_slice(&text, s);
    int err = s.size < sizeof e->name ? url_parse(buf_slice(&text), &u) : ERR_MALFORMED;
    buf_done(&text);
    bool is_tls = !err && strcmp(u.scheme, "https") == 0;
    if (err || !u.port || (!is_tls && strcmp(u.scheme, "http") != 0) ||
        (u.path[0] && strcmp(u.path, "/") != 0))
        return set_error(error, CAIRN_INVALID, "endpoint \"%.*s\" is not host:port",
                         (int)(s.size < 300 ? s.size : 300), (const char *)s.data);
    memcpy(e->name, s.data, s.size);
    e->name[s.size] = 0;
    memcpy(e->host, u.host, sizeof e->host);
    e->port = u.port;
    snprintf(e->authority, sizeof e->authority, strchr(e->host, ':') ? "[%s]:%u" : "%s:%u", e->host, e->port);
    *ret_tls = is_tls;
    return CAIRN_OK;
}

int endpoints_parse(const char *text, struct endpoints *ret, struct cairn_error *error)
{
    struct endpoints found = {.list = mem_new(ENDPOINTS_MAX * sizeof(struct endpoint))};
    int err = CAIRN_OK;
    while (!err) {
        size_t n = strcspn(text, ",");
        struct slice s = slice_of(text, n);
        while (s.size && s.data[0] == ' ')
            s = slice_of(s.data + 1, s.size - 1);
        while (s.size && s.data[s.size - 1] == ' ')
            s.size--;
        bool is_tls = false;
        if (found.count == ENDPOINTS_MAX)
            err = set_error(error, CAIRN_INVALID, "more than %d endpoints", (int)ENDPOINTS_MAX);
        else
            err = parse_one(s, &found.list[found.count], &is_tls, error);
        if (!err && found.count && is_tls != found.is_tls)
            err = set_error(error, CAIRN_INVALID, "either all endpoints begin with https:// or none");
        found.is_tls = is_tls;
        found.count++;
        if (!text[n])
            break;
        text += n + 1;
    }
    if (err)
        mem_free(found.list);
    else
        *ret = found;
    return err;
}
