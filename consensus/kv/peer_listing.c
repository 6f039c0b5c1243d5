/* SPDX-License-Identifier: Apache-2.0
 * Members that this one does not know yet, as listed by members that it knows. Without a token or a
 * certificate, a stream of an unknown member is taken only if a known member lists that member (peer/peer.h:
 * on_unconfirmed).
 *
 * 1. One round queries every known member, at its recorded peer URL, for the members that it lists (WHO).
 * 2. New ones are given to the transport by set_vouched.
 * 3. The stream itself is still confirmed by a dial-back to the listed URL.
 *
 * A round does not depend on what caused it, and rounds are 2 s apart: a process that claims many ids costs
 * no more.
 *
 * A member that knows no other one (it began a cluster of its own) believes no listing. */
#include "consensus/kv/kv_impl.h"
#include "consensus/node/boot_message.h"

#define ROUND_MS 2000
#define WHO_MS   2000

static bool is_known_at(const struct member *m, const Peerpb__ListedMember *s)
{
    for (size_t i = 0; i < s->n_peer_urls; i++)
        for (size_t j = 0; m && j < m->peer_url_count; j++)
            if (strcmp(s->peer_urls[i], m->peer_urls[j]) == 0)
                return true;
    return false;
}

static void take_listed_members(struct kv *kv, const Peerpb__Answer *a)
{
    for (size_t i = 0; i < a->n_members; i++) {
        const Peerpb__ListedMember *s = a->members[i];
        bool is_news = s->id != kv->member_id && !member_is_removed(&kv->members, s->id) &&
                       !is_known_at(member_find(&kv->members, s->id), s);
        if (is_news && s->n_peer_urls)
            kv->peers->ops->set_vouched(kv->peers, s->id, (const char *const *)s->peer_urls, s->n_peer_urls);
    }
}

static void on_who(void *arg, int err, struct slice text)
{
    struct kv_peer_listing_query *query = arg;
    struct kv *kv = query->kv;
    query->ask = 0;
    Peerpb__Answer *a = err ? NULL : boot_read_answer(text);
    if (a && a->run == kv->peer_listing.run && a->state == PEERPB__ANSWER__STATE__STARTED &&
        a->cluster_id == kv->cluster_id)
        take_listed_members(kv, a);
    if (a)
        peerpb__answer__free_unpacked(a, NULL);
}

void kv_peer_listing_start(struct kv *kv)
{
    struct kv_peer_listing *v = &kv->peer_listing;
    uint64_t now = kv_now_ms(kv);
    if (!kv->peers || kv_is_closing(kv) || now < v->next_ms)
        return;
    v->next_ms = now + ROUND_MS;
    v->run = kv->io->ops->random(kv->io);
    Peerpb__BootstrapQuery q = PEERPB__BOOTSTRAP_QUERY__INIT;
    struct buf text = {0};
    q.run = v->run;
    boot_write(&text, &q.base);
    size_t count = 0;
    for (size_t i = 0; i < kv->members.count && count < RAFT_MEMBERS_MAX; i++) {
        const struct member *m = &kv->members.list[i];
        struct kv_peer_listing_query *query = &v->queries[count];
        if (m->id == kv->member_id || !m->peer_url_count)
            continue;
        count++;
        query->kv = kv;
        if (query->ask)
            kv->peers->ops->cancel(kv->peers, query->ask);
        query->ask = kv->peers->ops->query(kv->peers, m->peer_urls[v->round % m->peer_url_count],
                                           buf_slice(&text), WHO_MS, on_who, query);
    }
    v->round++;
    buf_done(&text);
}

void kv_peer_listing_close(struct kv *kv)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (kv->peer_listing.queries[i].ask)
            kv->peers->ops->cancel(kv->peers, kv->peer_listing.queries[i].ask);
}
