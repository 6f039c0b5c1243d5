/* SPDX-License-Identifier: Apache-2.0
 * Rules for browsers; see access.h. */
#include "server/http/access.h"

#include <arpa/inet.h>
#include <strings.h>

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

static bool begins(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.size >= n && memcmp(s.data, with, n) == 0;
}

bool http_access_is_browser(const struct http_browser_headers *h)
{
    /* Node's fetch accepts any language ("*"); browsers name some. */
    bool has_languages = h->accept_language.size && !slice_equal(h->accept_language, slice_text("*"));
    return h->origin.size || h->fetch_site.size || has_languages || begins(h->user_agent, "Mozilla/");
}

bool http_access_is_own_page(const struct http_browser_headers *h)
{
    if (h->origin.size && http_access_is_same_origin(h->origin, h->host))
        return true;
    if (slice_equal(h->fetch_site, slice_text("same-origin")))
        return true; /* a proxy in front has changed the Host */
    if (h->origin.size)
        return false;
    return !h->fetch_site.size || slice_equal(h->fetch_site, slice_text("none"));
}

static bool is_address(struct slice name)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t address[16];
    if (!name.size || name.size >= sizeof text)
        return false;
    memcpy(text, name.data, name.size);
    text[name.size] = 0;
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool ends_with(struct slice name, const char *end)
{
    size_t n = strlen(end);
    return name.size > n && strncasecmp((const char *)name.data + name.size - n, end, n) == 0;
}

bool http_access_is_own_host(struct slice name, const char *list)
{
    static const char *const reserved[] = {".localhost", ".local", ".internal", ".svc"};
    if (name.size && name.data[name.size - 1] == '.')
        name.size--;
    if (!name.size)
        return false;
    if (is_address(name) || !memchr(name.data, '.', name.size))
        return true;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (ends_with(name, reserved[i]))
            return true;
    return list && *list && http_access_list_has(list, name);
}
