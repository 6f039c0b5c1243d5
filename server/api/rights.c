/* SPDX-License-Identifier: Apache-2.0
 * Rights of a call: the permissions that its route names, those that its body names, and that they still hold when
 * a call that waited is answered. A refusal is answered here. */
#include <stdio.h>

#include "base/text.h"
#include "server/api/private.h"

/* A permission that the call needs. */
struct api_right {
    struct guard_need need;
    struct api_right *next;
};

bool api_refuse_unauthorized(struct api_call *c, int err, const char *message)
{
    err = guard_public_error(err);
    if (err == ERR_INVALID_AUTH_TOKEN)
        http_add_header(c->q, "WWW-Authenticate", "Bearer realm=\"cairn\"");
    api_fail_err(c, err, err == ERR_INVALID_AUTH_TOKEN || err == ERR_PERMISSION_DENIED ? message : NULL);
    return false;
}

static void remember_right(struct api_call *c, const struct guard_need *need)
{
    struct api_right *r = arena_new(&c->q->arena, sizeof *r);
    r->need = *need; /* its names are the call's */
    r->next = c->rights;
    c->rights = r;
}

static bool authorize(struct api_call *c, const struct guard_need *need)
{
    char error[500] = "";
    int err = guard_check(c->api->options.identity, &c->guard.who, need, error, sizeof error);
    if (err)
        return api_refuse_unauthorized(c, err, error);
    remember_right(c, need);
    return true;
}

struct author api_author(const struct api_call *c)
{
    const char *certificate = http_common_name(c->q);
    struct slice name = slice_text(AUTHOR_ANONYMOUS);
    if (c->guard.who.user.size)
        name = c->guard.who.user;
    else if (*certificate)
        name = slice_text(certificate);
    return (struct author){name, api_param(c, PARAM_ON_BEHALF_OF), gray_address(c->q->peer)};
}

const struct auth_who *api_who(const struct api_call *c)
{
    return c->api->options.identity ? &c->guard.who : NULL;
}

int api_recheck_rights(struct api_call *c, char *error, size_t error_size)
{
    const struct identity *i = c->api->options.identity;
    uint64_t epoch = guard_epoch(i);
    if (c->rights_epoch == epoch)
        return OK;
    c->rights_epoch = epoch;
    int err = guard_check_user(i, &c->guard.who, error, error_size);
    for (const struct api_right *r = c->rights; r && !err; r = r->next)
        err = guard_check(i, &c->guard.who, &r->need, error, error_size);
    return err;
}

void api_refuse(struct api_call *c, int err, const char *message)
{
    c->q->headers.size = c->header_bytes;
    api_refuse_unauthorized(c, err, message);
}

bool api_authorize(struct api_call *c, enum guard_kind kind, bool is_write, struct slice ns,
                   struct slice group, struct slice name)
{
    return authorize(
        c, &(struct guard_need){.kind = kind, .is_write = is_write, .ns = ns, .group = group, .name = name});
}

bool api_authorize_prefix(struct api_call *c, enum guard_kind kind, struct slice ns, struct slice group,
                          struct slice prefix)
{
    return authorize(c,
                     &(struct guard_need){
                         .kind = kind, .is_prefix = prefix.size, .ns = ns, .group = group, .name = prefix});
}

bool api_authorize_instance(struct api_call *c, const struct registry_key *key, size_t index)
{
    const struct guard_need need = {.kind = GUARD_INSTANCES,
                                    .is_write = true,
                                    .ns = key->ns,
                                    .group = key->group,
                                    .name = key->service,
                                    .id = key->id};
    char error[500] = "", text[540];
    int err = guard_check(c->api->options.identity, &c->guard.who, &need, error, sizeof error);
    snprintf(text, sizeof text, "instances[%zu]: %s", index, error);
    c->ns = key->ns, c->group = key->group, c->service = key->service, c->id = key->id;
    return !err || api_refuse_unauthorized(c, err, text);
}

bool api_authorize_namespaces(struct api_call *c, enum guard_kind kind)
{
    size_t at = 0, count = 0;
    struct slice ns;
    for (; api_next_param(c, PARAM_NAMESPACES, &at, &ns); count++)
        if (!api_authorize(c, kind, false, slice_equal(ns, slice_text("*")) ? (struct slice){0} : ns,
                           (struct slice){0}, (struct slice){0}))
            return false;
    return count || api_authorize(c, kind, false, (struct slice){0}, (struct slice){0}, (struct slice){0});
}

bool api_authorize_route(struct api_call *c)
{
    unsigned flags = c->route->flags;
    bool is_write = c->route->method != HTTP_GET;
    struct slice group = api_group_filter(c), prefix = api_param(c, PARAM_PREFIX);
    const struct {
        unsigned flag;
        struct guard_need need;
    } needs[] = {
        {OF_SERVICE,
         {GUARD_INSTANCES, is_write, prefix.size, c->ns, group, prefix.size ? prefix : c->service, {0}}},
        {OF_SETTINGS, {GUARD_SETTINGS, is_write, false, c->ns, c->group, c->service, {0}}},
        {OF_INSTANCE, {GUARD_INSTANCES, is_write, false, c->ns, c->group, c->service, c->id}},
        {OF_OVERRIDE, {GUARD_OVERRIDE, is_write, false, c->ns, c->group, c->service, c->id}},
        {OF_SESSIONS, {.kind = GUARD_SESSIONS, .is_write = true}},
        {OF_CONFIG, {GUARD_CONFIG, is_write, prefix.size, c->ns, group, prefix.size ? prefix : c->name, {0}}},
        {OF_DRAFT, {GUARD_DRAFT, is_write, false, c->ns, group, c->name, {0}}},
        {OF_AUDIT, {.kind = GUARD_AUDIT}},
        {OF_REVIEW, {GUARD_REVIEW, is_write, false, c->ns, group, c->name, {0}}},
        {OF_SCHEMA, {GUARD_SCHEMA, is_write, false, c->ns, group, c->name, {0}}},
        {OF_POLICY, {.kind = GUARD_POLICY, .is_write = is_write, .ns = c->ns}},
        {OF_NAMESPACE, {.kind = GUARD_NAMESPACE, .is_write = is_write, .ns = c->ns}},
    };
    const struct guard_need emergency = {GUARD_EMERGENCY, true, false, c->ns, group, c->name, {0}};
    if (api_has_param(c, PARAM_EMERGENCY) && c->name.size && !authorize(c, &emergency))
        return false; /* the names of a bundle are in its body */
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if ((flags & needs[i].flag) && !authorize(c, &needs[i].need))
            return false;
    return true;
}
