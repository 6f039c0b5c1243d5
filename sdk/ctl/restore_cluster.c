/* SPDX-License-Identifier: Apache-2.0
 * Members of a new cluster. See restore_cluster.h. Host names are compared as they are written; etcdutl also
 * resolves them. */
#include "sdk/ctl/restore_cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

struct reader {
    struct arena *arena;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int invalid(const struct reader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->error, r->error_size, format, args);
    va_end(args);
    return ERR_INVALID;
}

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int check_url(const struct reader *r, const char *text)
{
    struct url url;
    bool is_unix = begins_with(text, "unix://") || begins_with(text, "unixs://");
    if (!is_unix && !begins_with(text, "http://") && !begins_with(text, "https://"))
        return invalid(r, "URL scheme must be http, https, unix, or unixs: %s", text);
    if (url_parse(slice_text(text), &url))
        return invalid(r, "URL address does not have the form \"host:port\": %s", text);
    if (url.path[0] && !is_unix)
        return invalid(r, "URL must not contain a path: %s", text);
    return OK;
}

/* The next piece before a comma, without blanks around it. NULL: there is no more. */
static char *next_piece(const struct reader *r, const char **at)
{
    if (!*at)
        return NULL;
    const char *from = *at, *comma = strchr(from, ',');
    size_t size = comma ? (size_t)(comma - from) : strlen(from);
    *at = comma ? comma + 1 : NULL;
    for (; size && strchr(" \t\r\n", *from); from++)
        size--;
    while (size && strchr(" \t\r\n", from[size - 1]))
        size--;
    return arena_string(r->arena, from, size);
}

static int read_members(const struct reader *r, const char *text, struct restore_cluster *ret)
{
    size_t capacity = strlen(text) + 1; /* more than commas */
    ret->list = arena_alloc(r->arena, capacity * sizeof *ret->list);
    const char *at = text;
    for (char *piece; (piece = next_piece(r, &at));) {
        char *equals = strchr(piece, '=');
        if (!*piece)
            continue;
        const char *url = equals ? equals + 1 : "";
        if (equals)
            *equals = 0;
        int err = check_url(r, url);
        if (err)
            return err;
        ret->list[ret->count++] = (struct etcd_db_member){.name = piece, .peer_url = url};
    }
    return OK;
}

static int read_advertised(const struct reader *r, const char *text, struct restore_cluster *ret,
                           const char *name)
{
    ret->list = arena_alloc(r->arena, (strlen(text) + 1) * sizeof *ret->list);
    const char *at = text;
    for (char *piece; (piece = next_piece(r, &at));) {
        int err = check_url(r, piece);
        if (err)
            return err;
        ret->list[ret->count++] = (struct etcd_db_member){.name = name, .peer_url = piece};
    }
    return OK;
}

static bool has_url(const struct restore_cluster *c, const char *name, const char *url)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->list[i].name, name) == 0 && strcmp(c->list[i].peer_url, url) == 0)
            return true;
    return false;
}

/* The URLs of `name` in `from` that `in` lacks, with `prefix` before each; NULL = none. */
static const char *missing_urls(const struct reader *r, const struct restore_cluster *from,
                                const struct restore_cluster *in, const char *name, const char *prefix)
{
    const char *all = NULL;
    for (size_t i = 0; i < from->count; i++)
        if (strcmp(from->list[i].name, name) == 0 && !has_url(in, name, from->list[i].peer_url))
            all = arena_printf(r->arena, "%s%s%s%s", all ? all : "", all ? "," : "", prefix,
                               from->list[i].peer_url);
    return all;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* name=URL, sorted, as Go prints it. */
static const char *cluster_text(const struct reader *r, const struct restore_cluster *c)
{
    char **pairs = arena_alloc(r->arena, (c->count + 1) * sizeof *pairs);
    for (size_t i = 0; i < c->count; i++)
        pairs[i] = arena_printf(r->arena, "%s=%s", c->list[i].name, c->list[i].peer_url);
    if (c->count)
        qsort(pairs, c->count, sizeof *pairs, by_text);
    const char *all = "";
    for (size_t i = 0; i < c->count; i++)
        all = arena_printf(r->arena, "%s%s%s", all, i ? "," : "", pairs[i]);
    return all;
}

static int check_cluster(const struct reader *r, const char *name, const char *advertised_text,
                         const struct restore_cluster *c, const struct restore_cluster *advertised)
{
    bool is_named = false;
    for (size_t i = 0; i < c->count; i++)
        is_named = is_named || strcmp(c->list[i].name, name) == 0;
    if (!is_named)
        return invalid(r, "couldn't find local name \"%s\" in the initial cluster configuration", name);
    const char *missing = missing_urls(r, c, advertised, name, arena_printf(r->arena, "%s=", name));
    if (missing)
        return invalid(r, "--initial-cluster has %s but missing from --initial-advertise-peer-urls=%s",
                       missing, advertised_text);
    missing = missing_urls(r, advertised, c, name, "");
    if (missing)
        return invalid(r, "--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s",
                       missing, cluster_text(r, advertised));
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(c->list[i].peer_url, c->list[k].peer_url) == 0)
                return invalid(r, "initial cluster %s has duplicate url", cluster_text(r, c));
    return OK;
}

int restore_cluster_read(struct arena *arena, const char *name, const char *cluster, const char *advertised,
                         struct restore_cluster *ret_cluster, char *error, size_t error_size)
{
    const struct reader r = {arena, error, error_size};
    struct restore_cluster own = {0};
    *ret_cluster = (struct restore_cluster){0};
    int err = read_advertised(&r, advertised, &own, name);
    if (!err)
        err = read_members(&r, cluster, ret_cluster);
    return err ? err : check_cluster(&r, name, advertised, ret_cluster, &own);
}
