/* SPDX-License-Identifier: Apache-2.0
 * grpc.health.v1.Health for the whole server (service ""): SERVING from the opening of the port until the
 * server drains. A named service is unknown: NOT_FOUND for Check, SERVICE_UNKNOWN for Watch, as in grpc-go. */
#include "proto/health.pb-c.h"
#include "server/rpc/service.h"

static Grpc__Health__V1__HealthCheckResponse response_of(const struct rpc_server *s, bool is_known)
{
    Grpc__Health__V1__HealthCheckResponse r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!is_known)
        r.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    else if (s->is_draining)
        r.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    else
        r.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    return r;
}

static bool is_known(const ProtobufCMessage *m)
{
    const char *service = ((const Grpc__Health__V1__HealthCheckRequest *)m)->service;
    return !service || !*service;
}

void rpc_health_check(struct rpc_call *c, const ProtobufCMessage *m)
{
    if (!is_known(m)) {
        rpc_finish_text(c, 5, "unknown service");
        return;
    }
    Grpc__Health__V1__HealthCheckResponse r = response_of(c->server, true);
    rpc_reply(c, 0, &r.base);
}

/* state is not NULL when the watched service is known. */
void rpc_health_watch_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    static const char known = 0;
    if (is_known(m))
        c->state = (void *)(uintptr_t)&known;
    Grpc__Health__V1__HealthCheckResponse r = response_of(c->server, c->state != NULL);
    rpc_send(c, &r.base);
}

void rpc_health_changed(struct rpc_server *s)
{
    LIST_FOR_EACH_SAFE (l, &s->streams) {
        struct rpc_call *c = container_of(l, struct rpc_call, link);
        if (c->method->on_message != rpc_health_watch_message || !c->state)
            continue;
        Grpc__Health__V1__HealthCheckResponse r = response_of(s, true);
        rpc_send(c, &r.base);
    }
}

void rpc_health_watch_half_close(struct rpc_call *c)
{
    (void)c;
}

void rpc_health_watch_writable(struct rpc_call *c)
{
    (void)c;
}

void rpc_health_watch_cancel(struct rpc_call *c)
{
    c->state = NULL;
}
