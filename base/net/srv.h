/* SPDX-License-Identifier: Apache-2.0
 * Lookup of DNS SRV records (RFC 2782) with the resolver of libc, which reads /etc/resolv.conf. It blocks
 * for as long as the resolver waits: no event loop may call it. */
#ifndef BASE_NET_SRV_H
#define BASE_NET_SRV_H

#include <stdbool.h>
#include <stddef.h>

enum { SRV_RECORDS_MAX = 64 };

struct srv_record {
    unsigned priority, weight, port;
    char target[256]; /* without the dot at its end */
};

struct srv_list {
    struct srv_record records[SRV_RECORDS_MAX]; /* by priority, then by falling weight */
    size_t count;
};

/* Looks up _service._tcp.domain. False: there is no such record, or no server answers. */
bool srv_lookup(const char *service, const char *domain, struct srv_list *ret_list);

#endif
