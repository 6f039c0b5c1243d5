/* SPDX-License-Identifier: Apache-2.0
 * SRV records of libc's resolver; see srv.h. */
#include "base/net/srv.h"

#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX = 64 << 10, SRV_HEAD = 6 };

/* Reads a name; false: the answer is malformed. */
static bool take_name(const uint8_t *answer, const uint8_t *end, const uint8_t **at, char ret_name[256])
{
    int used = dn_expand(answer, end, *at, ret_name, 256);
    if (used < 0)
        return false;
    *at += used;
    return true;
}

static unsigned take_u16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static void add_records(const uint8_t *answer, size_t size, struct srv_list *list)
{
    const uint8_t *end = answer + size, *at = answer + NS_HFIXEDSZ;
    char name[256];
    if (size < NS_HFIXEDSZ)
        return;
    unsigned questions = take_u16(answer + 4), answers = take_u16(answer + 6);
    for (; questions && take_name(answer, end, &at, name) && end - at >= NS_QFIXEDSZ; questions--)
        at += NS_QFIXEDSZ;
    for (; answers && !questions && list->count < SRV_RECORDS_MAX; answers--) {
        if (!take_name(answer, end, &at, name) || end - at < NS_RRFIXEDSZ)
            return;
        unsigned type = take_u16(at), data_size = take_u16(at + 8);
        const uint8_t *data = at + NS_RRFIXEDSZ;
        if ((size_t)(end - data) < data_size)
            return;
        at = data + data_size;
        struct srv_record *r = &list->records[list->count];
        const uint8_t *target = data + SRV_HEAD;
        if (type != ns_t_srv || data_size <= SRV_HEAD || !take_name(answer, end, &target, r->target))
            continue;
        r->priority = take_u16(data);
        r->weight = take_u16(data + 2);
        r->port = take_u16(data + 4);
        list->count++;
    }
}

static int compare_records(const void *a, const void *b)
{
    const struct srv_record *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    return x->weight > y->weight ? -1 : x->weight < y->weight;
}

bool srv_lookup(const char *service, const char *domain, struct srv_list *ret_list)
{
    static _Thread_local uint8_t answer[ANSWER_MAX];
    char name[1024];
    ret_list->count = 0;
    int n = snprintf(name, sizeof name, "_%s._tcp.%s", service, domain);
    if (n < 0 || (size_t)n >= sizeof name)
        return false;
    int size = res_query(name, ns_c_in, ns_t_srv, answer, sizeof answer);
    if (size <= 0)
        return false;
    add_records(answer, (size_t)size < sizeof answer ? (size_t)size : sizeof answer, ret_list);
    qsort(ret_list->records, ret_list->count, sizeof *ret_list->records, compare_records);
    return ret_list->count > 0;
}
