/* SPDX-License-Identifier: Apache-2.0
 * The DNS options as the parameters of server/dns; see naming.h. */
#include "server/naming.h"

#include "base/text.h"
#include "server/auth/guard.h"

enum { HOSTS_MAX = 192 };

static struct audience *audience(void *arg)
{
    const struct naming *n = arg;
    return guard_anonymous_audience(n->identity, n->registry);
}

/* A server that listens on all addresses is found where clients find it. */
int naming_open(const struct options *o, struct uv_loop_s *loop, struct naming *naming,
                struct registry *registry, char *error, size_t error_size, struct dns_server **ret_dns)
{
    const struct text_list *urls = &o->advertise_client;
    const char *hosts[HOSTS_MAX];
    struct url parsed[HOSTS_MAX];
    struct dns_server_options options = {
        .loop = loop,
        .registry = registry,
        .listen = o->listen_dns,
        .zone = o->dns_zone,
        .ttl_ns = o->dns_ttl_ns,
        .rate_limit = o->dns_rate_limit,
        .output = naming->output,
        .hosts = hosts,
        .audience = audience,
        .audience_arg = naming,
    };
    if (!*o->listen_dns)
        return OK;
    for (size_t i = 0; i < urls->count && options.host_count < HOSTS_MAX; i++)
        if (!url_parse(slice_text(urls->items[i]), &parsed[options.host_count])) {
            hosts[options.host_count] = parsed[options.host_count].host;
            options.host_count++;
        }
    return dns_server_new(&options, error, error_size, ret_dns);
}
