/* SPDX-License-Identifier: Apache-2.0
 * --discovery-srv: endpoints from the SRV records _etcd-client-ssl._tcp.DOMAIN (https) and
 * _etcd-client._tcp.DOMAIN (http), as of etcd's clients. With --discovery-srv-name the services are
 * _etcd-client-ssl-NAME and _etcd-client-NAME. */
#include "base/net/srv.h"
#include "sdk/ctl/ctl.h"

/* Appends the endpoints of one service. False: there is no such record. */
static bool find_service(struct ctl *c, const char *scheme, const char *service, const char *domain,
                         const char **ret_list, size_t *count)
{
    static struct srv_list list;
    const char *suffix = ctl_flag_value(&c->line, "discovery-srv-name");
    const char *name =
        arena_printf(&c->arena, "%s%s%s", service, suffix && *suffix ? "-" : "", suffix ? suffix : "");
    if (!srv_lookup(name, domain, &list))
        return false;
    for (size_t i = 0; i < list.count && *count < CTL_ENDPOINTS_MAX; i++)
        ret_list[(*count)++] =
            arena_printf(&c->arena, "%s://%s:%u", scheme, list.records[i].target, list.records[i].port);
    return true;
}

enum ctl_exit ctl_discover(struct ctl *c, const char *domain, const char **ret_list, size_t *ret_count)
{
    *ret_count = 0;
    bool is_found = find_service(c, "https", "etcd-client-ssl", domain, ret_list, ret_count);
    size_t safe = *ret_count;
    is_found = find_service(c, "http", "etcd-client", domain, ret_list, ret_count) || is_found;
    if (!is_found)
        return ctl_fail(
            c, CTL_ERROR,
            "error querying DNS SRV records for _etcd-client lookup _etcd-client._tcp.%s: no such host",
            domain);
    if (ctl_bool(&c->line, "insecure-discovery"))
        return CTL_DONE;
    for (size_t i = safe; i < *ret_count; i++)
        ctl_note(c, "ignoring discovered insecure endpoint \"%s\"", ret_list[i]);
    *ret_count = safe;
    return CTL_DONE;
}
