/* SPDX-License-Identifier: Apache-2.0
 * Membership: requests become configuration changes in the log, and the log decides.
 *
 * A change is checked twice, as in etcd:
 *   before it is proposed, on the member with the request: is the quorum safe (strict reconfiguration)?
 *   when it is applied, on all alike: is it valid (no id twice or again, no URL twice, not too many learners)?
 * In etcd each member applies its own --max-learners, and members with different values may disagree. Here the
 * entry carries the value of its proposer.
 *
 * Raft skips a change that is not valid, and its request gets the error. The member list, the configuration
 * that raft made of it and the applied index are one store transaction.
 *
 * Raft admits one change at a time; others wait at the leader (node/node_propose.c). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metric_family.h"
#include "base/text.h"
#include "base/mutant.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/node/conf_store.h"
#include "consensus/node/identity.h"

#define HEALTH_MS           5000 /* a member is there when its connection has stood for so long */
#define LEARNERS_MAX        1    /* etcd's default; and of an entry without a number */
#define PEER_URLS_MAX       32
#define PEER_URL_SIZE_MAX   512
#define READY_PERCENT       90  /* of the leader's log: a learner can be promoted on request */
#define READY_LAG           500 /* entries: a learner is promoted by itself */
#define PROMOTE_INTERVAL_MS 1000
#define REMOVED_LINGER_MS   300 /* a removed member notifies the others of it, then it ends */

/* --- from requests to changes ------------------------------------------------------------------------ */

static int compare_url(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* scheme://host:port and nothing behind it, or a socket file, as etcd's types.NewURLs. */
static bool is_peer_url(const char *url)
{
    const char *rest = strstr(url, "://");
    if (!rest || strlen(url) > PEER_URL_SIZE_MAX)
        return false;
    size_t scheme = (size_t)(rest - url);
    rest += 3;
    if ((scheme == 4 && memcmp(url, "unix", 4) == 0) || (scheme == 5 && memcmp(url, "unixs", 5) == 0))
        return *rest;
    bool is_known =
        (scheme == 4 && memcmp(url, "http", 4) == 0) || (scheme == 5 && memcmp(url, "https", 5) == 0);
    const char *colon = strrchr(rest, ':');
    return is_known && colon && colon > rest && colon[1] &&
           strspn(colon + 1, "0123456789") == strlen(colon + 1);
}

/* The URLs in byte order; false: there are none, or one is none. */
static bool take_urls(char **urls, size_t count, struct arena *a, char ***ret_urls)
{
    if (count == 0 || count > PEER_URLS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!is_peer_url(urls[i]))
            return false;
    char **sorted = arena_copy(a, urls, count * sizeof *urls);
    qsort(sorted, count, sizeof *sorted, compare_url);
    *ret_urls = sorted;
    return true;
}

/* As etcd derives it, from URLs and the time; an id that was ever used takes the next second's. */
static uint64_t new_member_id(const struct members *members, uint64_t second, char **urls, size_t count)
{
    uint64_t id;
    if (MUTANT(MEMBER_ID_REUSED))
        second = 0;
    do {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)second++);
        id = identity_member_id((const char *const *)urls, count, text);
    } while (id == 0 || id >= RAFT_APPLY_THREAD || member_find(members, id) ||
             (member_is_removed(members, id) && !MUTANT(MEMBER_ID_REUSED)));
    return id;
}

/* The part of a change that raft sees. */
static void to_raft(const Etcdserverpb__MembershipChange *c, struct raft_conf_change *ret_change)
{
    *ret_change = (struct raft_conf_change){.count = 1};
    struct raft_conf_change_single *first = &ret_change->changes[0];
    bool is_learner = c->member->islearner;
    first->node_id = c->member->id;
    switch (c->kind) {
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REPLACE:
        ret_change->changes[1] = (struct raft_conf_change_single){RAFT_REMOVE_NODE, c->replaces};
        ret_change->count = 2;
        first->type = is_learner ? RAFT_ADD_LEARNER : RAFT_ADD_NODE;
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ADD:
        first->type = is_learner ? RAFT_ADD_LEARNER : RAFT_ADD_NODE;
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REMOVE:
        first->type = RAFT_REMOVE_NODE;
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE:
        first->type = RAFT_ADD_NODE;
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__UPDATE:
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ALONE: /* what there is to remove is found at apply */
    default:
        first->type = RAFT_UPDATE_NODE;
        break;
    }
}

static char *own_text(struct slice s, struct arena *a)
{
    return s.size ? arena_string(a, (const char *)s.data, s.size)
                  : (char *)(uintptr_t)protobuf_c_empty_string;
}

/* For the audit trail. */
static void name_author(const struct kv_request *r, Etcdserverpb__MembershipChange *c, struct arena *a)
{
    struct author author = r->author ? *r->author : (struct author){0};
    if (r->who && r->who->user.size)
        author.name = r->who->user;
    c->author = own_text(author.name, a);
    c->author_address = own_text(author.address, a);
}

static int propose_change(struct kv *kv, Etcdserverpb__MembershipChange *c)
{
    struct raft_conf_change change;
    struct buf context = {0};
    size_t size = etcdserverpb__membership_change__get_packed_size(c);
    etcdserverpb__membership_change__pack(c, buf_reserve(&context, size));
    context.size = size;
    to_raft(c, &change);
    change.context = buf_slice(&context);
    int err = node_propose_conf_change(kv->node, &change);
    buf_done(&context);
    return err;
}

static void start_change(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m,
                         Etcdserverpb__MembershipChange *c, int err)
{
    struct arena names = {0};
    r->kind = kind;
    r->message = m;
    r->begun_ns = 0; /* none of the requests that etcd times */
    r->slices = NULL;
    r->started_ms = kv_turn_ms(kv);
    if (!err) {
        kv_assign_proposal_id(kv, r);
        c->proposer = kv->member_id;
        c->request = r->id;
        name_author(r, c, &names);
        err = propose_change(kv, c);
        if (err)
            kv_release_proposal_id(kv, r);
    }
    if (err)
        kv_fail(kv, r, err);
    else
        kv_wait_for_entry(kv, r);
    arena_done(&names);
}

/* --- is the quorum safe? (etcd's strict reconfiguration checks) -------------------------------------- */

struct voters {
    size_t count, started, active;
};

/* Voters but one (0 = all): how many, how many have ever started, how many are connected. */
static struct voters count_voters(const struct kv *kv, uint64_t without)
{
    struct voters v = {0};
    uint64_t now = kv_now_ms(kv), since = now > HEALTH_MS ? now - HEALTH_MS : 0;
    for (size_t i = 0; i < kv->members.count; i++) {
        const struct member *m = &kv->members.list[i];
        if (m->is_learner || m->id == without)
            continue;
        v.count++;
        v.started += *m->name != '\0';
        v.active += kv_peer_is_active(kv, m->id, since);
    }
    return v;
}

static int may_add(const struct kv *kv, bool is_learner)
{
    struct voters v = count_voters(kv, 0);
    if (!kv->settings.strict_reconfig)
        return OK;
    if (!is_learner && !(v.started == 1 && v.count == 1) && v.started < (v.count + 1) / 2 + 1)
        return ERR_MEMBER_NOT_ENOUGH_STARTED;
    if (v.count > 1 && v.active < (v.count + 1) / 2 + 1)
        return ERR_UNHEALTHY;
    return OK;
}

static int may_remove(const struct kv *kv, uint64_t id)
{
    const struct member *member = member_find(&kv->members, id);
    if (!kv->settings.strict_reconfig || (member && member->is_learner))
        return OK;
    struct voters rest = count_voters(kv, id), all = count_voters(kv, 0);
    if (rest.started < rest.count / 2 + 1)
        return ERR_MEMBER_NOT_ENOUGH_STARTED;
    /* A member that is down is no part of the active quorum. */
    if (id != kv->member_id && !kv_peer_is_active(kv, id, kv_now_ms(kv)))
        return OK;
    if (all.active < 2 + (all.count - 1) / 2)
        return ERR_UNHEALTHY;
    return OK;
}

static int may_promote(const struct kv *kv)
{
    struct voters v = count_voters(kv, 0);
    if (kv->settings.strict_reconfig && v.started + 1 < (v.count + 1) / 2 + 1)
        return ERR_MEMBER_NOT_ENOUGH_STARTED;
    return OK;
}

static const struct raft_progress_status *progress_of(const struct raft_status *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->progress_count; i++)
        if (s->progress[i].id == id)
            return &s->progress[i];
    return NULL;
}

/* Leaders only. That an id is no learner, or no member, is found at apply. */
static int check_progress(const struct kv *kv, uint64_t id)
{
    struct raft_status *status = mem_new(sizeof *status);
    node_get_status(kv->node, status);
    const struct raft_progress_status *learner = progress_of(status, id),
                                      *self = progress_of(status, kv->member_id);
    int err = OK;
    if (status->role != RAFT_LEADER || !self)
        err = ERR_NOT_LEADER;
    else if (!learner)
        err = ERR_MEMBER_NOT_FOUND;
    else if (learner->learner && learner->match * 100 < self->match * READY_PERCENT)
        err = ERR_LEARNER_NOT_READY;
    mem_free(status);
    return err;
}

/* --- new members ------------------------------------------------------------------------------------- */

static bool is_url_taken(const struct members *members, const char *url, uint64_t but_by)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->list[i];
        for (size_t j = 0; m->id != but_by && j < m->peer_url_count; j++)
            if (strcmp(m->peer_urls[j], url) == 0)
                return true;
    }
    return false;
}

static bool are_urls_taken(const struct members *members, const Etcdserverpb__Member *m, uint64_t but_by)
{
    for (size_t i = 0; i < m->n_peerurls; i++)
        if (is_url_taken(members, m->peerurls[i], but_by))
            return true;
    return false;
}

static unsigned learners_max_of(const Etcdserverpb__MembershipChange *c, unsigned level)
{
    return level >= FEATURE_LEVEL_LEARNERS && c->learners_max ? c->learners_max - 1 : LEARNERS_MAX;
}

static int check_new(const struct members *members, const Etcdserverpb__MembershipChange *c, uint64_t leaving,
                     unsigned level)
{
    if (member_find(members, c->member->id))
        return ERR_MEMBER_EXISTS;
    if (are_urls_taken(members, c->member, leaving))
        return ERR_PEER_URL_EXISTS;
    if (c->member->islearner && members_count_learners(members, leaving) >= learners_max_of(c, level) &&
        !MUTANT(LEARNERS_UNLIMITED))
        return ERR_TOO_MANY_LEARNERS;
    return OK;
}

/* --- requests ---------------------------------------------------------------------------------------- */

static uint64_t wall_second(struct io *io)
{
    return io->ops->wall_ns(io) / 1000000000;
}

static void add_member(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m,
                       bool promotes_itself)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    struct arena arena = {0};
    int err = ERR_MEMBER_BAD_URLS;
    if (take_urls(m->peerurls, m->n_peerurls, &arena, &member.peerurls)) {
        member.n_peerurls = m->n_peerurls;
        member.id = new_member_id(&kv->members, wall_second(kv->io), member.peerurls, member.n_peerurls);
        member.islearner = m->islearner;
        err = may_add(kv, m->islearner);
    }
    c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ADD;
    c.member = &member;
    c.promotes_itself = promotes_itself;
    c.learners_max = kv->settings.learners_max + 1;
    /* A process that joins asks until it has a place; without this each time would be an entry of the log. */
    if (!err && promotes_itself)
        err = check_new(&kv->members, &c, 0, kv_feature_level(kv));
    start_change(kv, r, KV_MEMBER_ADD, &m->base, &c, err);
    arena_done(&arena);
}

void kv_member_add(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m)
{
    add_member(kv, r, m, false);
}

void kv_member_add_joining(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m)
{
    add_member(kv, r, m, true);
}

void kv_member_replace(struct kv *kv, struct kv_request *r, uint64_t old_id,
                       const Etcdserverpb__MemberAddRequest *m)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    struct arena arena = {0};
    int err = ERR_MEMBER_BAD_URLS;
    if (take_urls(m->peerurls, m->n_peerurls, &arena, &member.peerurls)) {
        member.n_peerurls = m->n_peerurls;
        member.id = new_member_id(&kv->members, wall_second(kv->io), member.peerurls, member.n_peerurls);
        member.islearner = true;
        err = member_find(&kv->members, old_id) ? may_remove(kv, old_id) : ERR_MEMBER_NOT_FOUND;
    }
    c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REPLACE;
    c.member = &member;
    c.replaces = old_id;
    c.promotes_itself = true;
    c.learners_max = kv->settings.learners_max + 1;
    start_change(kv, r, KV_MEMBER_REPLACE, &m->base, &c, err);
    arena_done(&arena);
}

void kv_member_remove(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberRemoveRequest *m)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    member.id = m->id;
    c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REMOVE;
    c.member = &member;
    start_change(kv, r, KV_MEMBER_REMOVE, &m->base, &c, may_remove(kv, m->id));
}

void kv_member_update(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberUpdateRequest *m)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    struct arena arena = {0};
    int err = OK;
    if (!take_urls(m->peerurls, m->n_peerurls, &arena, &member.peerurls))
        err =
            member_find(&kv->members, m->id) ? ERR_MEMBER_BAD_URLS : ERR_MEMBER_NOT_FOUND; /* etcd's order */
    member.id = m->id;
    member.n_peerurls = err ? 0 : m->n_peerurls;
    c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__UPDATE;
    c.member = &member;
    start_change(kv, r, KV_MEMBER_UPDATE, &m->base, &c, err);
    arena_done(&arena);
}

static void count_promote_failure(int err)
{
    char labels[256];
    snprintf(labels, sizeof labels, "Reason=\"%s\"", err_text(err));
    metric_series_add(metric_series_get(FAMILY_PROMOTE_FAILURES, labels), 1);
}

void kv_member_promote(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberPromoteRequest *m)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    member.id = m->id;
    c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE;
    c.member = &member;
    int err = check_progress(kv, m->id);
    r->is_forwarded = false;
    if (err == ERR_NOT_LEADER && kv->peers && !kv_is_from_member(r)) {
        r->is_forwarded = true;
        kv_start_call(kv, r, KV_MEMBER_PROMOTE, &m->base);
        return;
    }
    if (!err)
        err = may_promote(kv);
    if (err && kv->state.is_leader)
        count_promote_failure(err);
    start_change(kv, r, KV_MEMBER_PROMOTE, &m->base, &c, err);
}

/* --- without a request ------------------------------------------------------------------------------- */

static bool has_caught_up(const struct kv *kv, const struct raft_progress_status *p)
{
    const struct member *m = member_find(&kv->members, p->id);
    return m && m->is_learner && m->promotes_itself && *m->name && p->learner && p->recent_active &&
           p->state == RAFT_REPLICATE && p->match + READY_LAG >= kv->state.commit;
}

/* At every tick: raft forgets once per election timeout which members it has heard, and a check once a second
 * could always come at that moment. */
void kv_promote_learners(struct kv *kv)
{
    const struct raft_conf_state *conf = node_conf_state(kv->node);
    uint64_t now = kv_now_ms(kv);
    if (!kv->settings.promotes_learners || !kv->state.is_leader || !conf->learners.count ||
        node_has_queued_change(kv->node) || now - kv->membership.promoted_ms < PROMOTE_INTERVAL_MS ||
        may_promote(kv) != OK)
        return;
    struct raft_status *status = mem_new(sizeof *status);
    node_get_status(kv->node, status);
    for (uint32_t i = 0; i < status->progress_count; i++) {
        if (!has_caught_up(kv, &status->progress[i]))
            continue;
        Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
        Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
        member.id = status->progress[i].id;
        c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE;
        c.member = &member;
        log_info("promoting a learner that has caught up", F_HEX("member-id", member.id),
                 F_UINT("match-index", status->progress[i].match));
        kv->membership.promoted_ms = now;
        (void)propose_change(kv, &c); /* comes again if it is lost */
        break;
    }
    mem_free(status);
}

void kv_propose_alone(struct kv *kv)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange c = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    if (!kv->membership.is_forcing)
        return;
    member.id = kv->member_id;
    c.kind = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ALONE;
    c.member = &member;
    (void)propose_change(kv, &c);
}

/* --- apply ------------------------------------------------------------------------------------------- */

/* Depends on the member list and the cluster's level alone, so that every member decides alike. */
static int check_change(const struct members *members, const Etcdserverpb__MembershipChange *c,
                        unsigned level)
{
    const struct member *member = member_find(members, c->member->id);
    if (member_is_removed(members, c->member->id) && !MUTANT(MEMBER_ID_REUSED))
        return ERR_MEMBER_NOT_FOUND; /* as etcd reports that an id was removed */
    switch (c->kind) {
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ADD:
        return check_new(members, c, 0, level);
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REPLACE:
        return member_find(members, c->replaces) ? check_new(members, c, c->replaces, level)
                                                 : ERR_MEMBER_NOT_FOUND;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__UPDATE:
        return !member                                          ? ERR_MEMBER_NOT_FOUND
               : are_urls_taken(members, c->member, member->id) ? ERR_PEER_URL_EXISTS
                                                                : OK;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE:
        return !member ? ERR_MEMBER_NOT_FOUND : !member->is_learner ? ERR_MEMBER_NOT_LEARNER : OK;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REMOVE:
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ALONE:
        return member ? OK : ERR_MEMBER_NOT_FOUND;
    default: /* a kind that this version does not know: protobuf hands on any number */
        return ERR_MALFORMED;
    }
}

void kv_force_alone(struct kv *kv)
{
    kv->membership.is_forcing = true;
}

uint64_t kv_removed_ms(const struct kv *kv)
{
    return kv->membership.removed_ms;
}

bool kv_note_removed(struct kv *kv)
{
    if (kv->membership.removed_ms)
        return false;
    kv->membership.removed_ms = kv_now_ms(kv);
    return true;
}

static void note_self_removed(struct kv *kv)
{
    if (kv_note_removed(kv))
        log_warn("this member was removed from the cluster", F_HEX("local-member-id", kv->member_id));
}

static void remove_one(struct kv *kv, uint64_t id)
{
    member_remove(&kv->members, id);
    member_save_removed(id, kv->store);
    if (id == kv->member_id) {
        note_self_removed(kv);
    } else if (kv->peers) {
        kv_disconnect_later(kv, id);
    }
}

static void set_one(struct kv *kv, const Etcdserverpb__Member *m, bool is_learner, bool promotes_itself)
{
    struct member *member =
        member_set(&kv->members, m->id, (const char *const *)m->peerurls, m->n_peerurls, is_learner);
    member->promotes_itself = promotes_itself;
    member_save(member, kv->store);
    if (kv->peers && m->id != kv->member_id)
        kv->peers->ops->set_member(kv->peers, m->id, (const char *const *)m->peerurls, m->n_peerurls);
}

static void change_members(struct kv *kv, const Etcdserverpb__MembershipChange *c)
{
    struct member *member = member_find(&kv->members, c->member->id);
    switch (c->kind) {
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REPLACE:
        remove_one(kv, c->replaces);
        set_one(kv, c->member, c->member->islearner, c->promotes_itself);
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ADD:
        set_one(kv, c->member, c->member->islearner, c->promotes_itself);
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REMOVE:
        remove_one(kv, c->member->id);
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__UPDATE:
        set_one(kv, c->member, member->is_learner, member->promotes_itself);
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE:
        member->is_learner = false;
        member_save(member, kv->store);
        break;
    case ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ALONE:
        for (size_t i = kv->members.count; i-- > 0;)
            if (kv->members.list[i].id != c->member->id)
                remove_one(kv, kv->members.list[i].id);
        break;
    default:
        assert(!"checked");
    }
}

/* Everybody but one goes, one after the other, each step a simple change. */
static int change_raft_alone(struct kv *kv, uint64_t id, struct raft_conf_state *conf)
{
    struct raft_conf_state before = *node_conf_state(kv->node);
    struct raft_conf_change leave = {0};
    int err = OK;
    *conf = before;
    if (before.voters_outgoing.count)
        err = node_apply_conf_change(kv->node, &leave, conf);
    const struct raft_ids *lists[] = {&before.voters, &before.learners, &before.learners_next};
    for (size_t i = 0; i < 3; i++) {
        for (uint32_t j = 0; j < lists[i]->count && !err; j++) {
            struct raft_conf_change one = {.count = 1, .changes = {{RAFT_REMOVE_NODE, lists[i]->id[j]}}};
            if (lists[i]->id[j] != id)
                err = node_apply_conf_change(kv->node, &one, conf);
        }
    }
    kv->membership.is_forcing = false;
    return err;
}

static void skip(struct raft_conf_change *change)
{
    for (uint32_t i = 0; i < change->count; i++)
        change->changes[i].node_id = 0;
}

/* NULL: no change of members but the leaving of a joint configuration. */
static Etcdserverpb__MembershipChange *unpack_change(struct kv *kv, const struct raft_conf_change *change)
{
    Etcdserverpb__MembershipChange *c = NULL;
    if (change->count)
        c = etcdserverpb__membership_change__unpack(arena_allocator(&kv->arena), change->context.size,
                                                    change->context.data);
    return c && c->member ? c : NULL;
}

static int kv_member_decode(const struct raft_entry *entry, struct raft_conf_change *ret_change)
{
    return raft_conf_change_decode(blob_slice(entry->data), entry->type == RAFT_ENTRY_CONF_CHANGE,
                                   ret_change);
}

int kv_apply_membership(struct kv *kv, const struct raft_entry *entry)
{
    struct raft_conf_change change;
    struct raft_conf_state conf;
    int err = kv_member_decode(entry, &change);
    if (err) {
        log_error("configuration change does not decode, skipped", F_UINT("index", entry->index));
        return err;
    }
    Etcdserverpb__MembershipChange *c = unpack_change(kv, &change);
    if (c)
        err = check_change(&kv->members, c, kv_feature_level(kv));
    else if (change.count)
        err = ERR_MALFORMED;
    bool is_alone = c && c->kind == ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ALONE;
    if (err || (kv->membership.is_forcing && !is_alone))
        skip(&change);
    int raft_err = is_alone && !err ? change_raft_alone(kv, c->member->id, &conf)
                                    : node_apply_conf_change(kv->node, &change, &conf);
    if (raft_err) {
        log_error("configuration change refused", F_UINT("index", entry->index), F_ERR(raft_err));
        /* More members than a configuration can have, or no voter left. */
        return err ? err : raft_err == ERR_LIMIT ? ERR_LIMIT : ERR_MEMBER_NOT_ENOUGH_STARTED;
    }
    conf_store_save(kv->store, &conf);
    if (c && (!err || MUTANT(MEMBER_REFUSED_STAYS)))
        change_members(kv, c);
    log_info("applied a configuration change", F_UINT("index", entry->index),
             F_INT("kind", c ? (int)c->kind : -1), F_HEX("member-id", c ? c->member->id : 0), F_ERR(err));
    return err;
}

/* --- answers ----------------------------------------------------------------------------------------- */

/* The Cluster service's headers carry no revision (etcd's own habit). */
static void answer_add(struct kv *kv, struct kv_request *r, Etcdserverpb__MembershipChange *c)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__MemberAddResponse response = ETCDSERVERPB__MEMBER_ADD_RESPONSE__INIT;
    kv_header(kv, 0, &header);
    response.header = &header;
    response.member = c->member;
    members_fill(&kv->members, &kv->arena, &response.n_members, &response.members);
    kv_finish(kv, r, OK, &response.base);
}

/* The other three responses are a header and the list. */
#define ANSWER_LIST(type, INIT)                                                                              \
    do {                                                                                                     \
        Etcdserverpb__ResponseHeader header;                                                                 \
        type response = INIT;                                                                                \
        kv_header(kv, 0, &header);                                                                           \
        response.header = &header;                                                                           \
        members_fill(&kv->members, &kv->arena, &response.n_members, &response.members);                      \
        kv_finish(kv, r, OK, &response.base);                                                                \
    } while (0)

void kv_change_proposer(const struct raft_entry *entry, uint64_t *ret_member, uint64_t *ret_number)
{
    struct raft_conf_change change;
    if (kv_member_decode(entry, &change) != OK || !change.count)
        return;
    Etcdserverpb__MembershipChange *c =
        etcdserverpb__membership_change__unpack(NULL, change.context.size, change.context.data);
    if (!c)
        return;
    *ret_member = c->proposer;
    *ret_number = c->request;
    etcdserverpb__membership_change__free_unpacked(c, NULL);
}

void kv_answer_membership(struct kv *kv, const struct raft_entry *entry, int err)
{
    struct raft_conf_change change;
    if (kv_member_decode(entry, &change) != OK)
        return;
    Etcdserverpb__MembershipChange *c = unpack_change(kv, &change);
    struct kv_request *r = c ? kv_take_proposed(kv, c->proposer, c->request) : NULL;
    bool is_promotion = c && c->kind == ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE;
    if (is_promotion && kv->state.is_leader) {
        metric_add(METRIC_PROMOTED, !err);
        if (err)
            count_promote_failure(err);
    }
    if (!r)
        return;
    if (err)
        kv_finish(kv, r, err, NULL);
    else if (r->kind == KV_MEMBER_ADD || r->kind == KV_MEMBER_REPLACE)
        answer_add(kv, r, c);
    else if (r->kind == KV_MEMBER_REMOVE)
        ANSWER_LIST(Etcdserverpb__MemberRemoveResponse, ETCDSERVERPB__MEMBER_REMOVE_RESPONSE__INIT);
    else if (r->kind == KV_MEMBER_UPDATE)
        ANSWER_LIST(Etcdserverpb__MemberUpdateResponse, ETCDSERVERPB__MEMBER_UPDATE_RESPONSE__INIT);
    else
        ANSWER_LIST(Etcdserverpb__MemberPromoteResponse, ETCDSERVERPB__MEMBER_PROMOTE_RESPONSE__INIT);
}

const Etcdserverpb__MembershipChange *kv_change_of(const struct raft_entry *entry, struct arena *a)
{
    struct raft_conf_change change;
    if (kv_member_decode(entry, &change) != OK || !change.count)
        return NULL;
    Etcdserverpb__MembershipChange *c =
        etcdserverpb__membership_change__unpack(arena_allocator(a), change.context.size, change.context.data);
    return c && c->member ? c : NULL;
}

bool kv_is_removed(const struct kv *kv)
{
    return kv->membership.removed_ms && kv_turn_ms(kv) >= kv->membership.removed_ms + REMOVED_LINGER_MS;
}
