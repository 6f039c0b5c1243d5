/* SPDX-License-Identifier: Apache-2.0
 * etcdserverpb.Cluster: members of the cluster. The header of these answers carries revision 0, as in etcd;
 * kv.h fills it so. Peer URLs are checked here, so that a URL on which no member could listen never reaches
 * the log. */
#include <stdlib.h>

#include "base/text.h"
#include "server/rpc/service.h"

enum { PEER_URLS_MAX = 64 };

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Blanks around the URL are removed, in place. */
static bool is_peer_url(char **text)
{
    while (**text == ' ' || **text == '\t' || **text == '\n')
        (*text)++;
    for (size_t n = strlen(*text); n && strchr(" \t\n", (*text)[n - 1]); n--)
        (*text)[n - 1] = 0;
    struct url url;
    bool is_parsed = url_parse(slice_text(*text), &url) == 0;
    bool is_unix = is_parsed && (!strcmp(url.scheme, "unix") || !strcmp(url.scheme, "unixs"));
    return is_unix ||
           (is_parsed && (!strcmp(url.scheme, "http") || !strcmp(url.scheme, "https")) && !url.path[0]);
}

/* Checked and sorted, as in etcd. */
static bool are_peer_urls(char **urls, size_t count)
{
    for (size_t i = 0; i < count && count <= PEER_URLS_MAX; i++)
        if (!is_peer_url(&urls[i]))
            return false;
    if (count)
        qsort(urls, count, sizeof *urls, compare_text);
    return count > 0 && count <= PEER_URLS_MAX;
}

void rpc_member_add(struct rpc_call *c, const ProtobufCMessage *m)
{
    Etcdserverpb__MemberAddRequest *add = arena_copy(&c->arena, m, sizeof *add);
    if (are_peer_urls(add->peerurls, add->n_peerurls))
        kv_member_add(c->server->kv, rpc_store_request(c), add);
    else
        rpc_finish(c, ERR_MEMBER_BAD_URLS);
}

void rpc_member_remove(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_member_remove(c->server->kv, rpc_store_request(c), (const Etcdserverpb__MemberRemoveRequest *)m);
}

/* etcd's client checks the URLs of an update. Here the store rejects an empty list, after it has found the
 * member. */
void rpc_member_update(struct rpc_call *c, const ProtobufCMessage *m)
{
    Etcdserverpb__MemberUpdateRequest *update = arena_copy(&c->arena, m, sizeof *update);
    if (!are_peer_urls(update->peerurls, update->n_peerurls))
        update->n_peerurls = 0;
    kv_member_update(c->server->kv, rpc_store_request(c), update);
}

void rpc_member_list(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_member_list(c->server->kv, rpc_store_request(c), (const Etcdserverpb__MemberListRequest *)m);
}

void rpc_member_promote(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_member_promote(c->server->kv, rpc_store_request(c), (const Etcdserverpb__MemberPromoteRequest *)m);
}
