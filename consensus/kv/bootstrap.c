/* SPDX-License-Identifier: Apache-2.0
 * Answers to processes that start (node/boot.h): which cluster is here, which members it has, and, on the
 * leader, the requests CLAIM, REPLACE and ADD. Every answer but DONE means: ask again.
 *
 * Proof: peer/peer_proof.h says which one a request needs. Where a dial-back is enough, in this order:
 *   1. the leader checks the request
 *   2. it dials the recorded peer URLs of the member and lets that process confirm the request
 *   3. it checks again, because time has passed
 *
 * A claim gives a member its name through the log, if it has none. It is granted once, to one run of one
 * process, and never to a member that was connected before: a member that lost its disk after its start must
 * not come back under the same id (boot_rules.h). */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/node/boot_message.h"

#define BLANK_INDEX 1 /* the bootstrap entry, see open.c */
#define BLANK_TERM  1

/* A request that waits for the log. */
struct pending {
    struct kv_request request;
    struct kv *kv;
    struct peer_served_query *question;
    Peerpb__BootstrapQuery *query;
    union {
        Etcdserverpb__MemberAddRequest add;
        Etcdserverpb__ClusterMemberAttrSetRequest name;
    } u;
    Etcdserverpb__Attributes attributes;
};

static void send_answer(struct kv *kv, struct peer_served_query *question, const Peerpb__Answer *answer)
{
    struct buf out = {0};
    boot_write(&out, &answer->base);
    kv->peers->ops->answer(kv->peers, question, buf_slice(&out));
    buf_done(&out);
}

/* A query whose dial-back is under way. */
struct confirmation {
    struct link link; /* of bootstrap.confirming */
    struct kv *kv;
    struct peer_served_query *question;
    Peerpb__BootstrapQuery *query;
};

/* --- which cluster is here -------------------------------------------------------------------------- */
/* Neither a vote nor an entry: what it was made with, and no term above the first. */
static bool is_blank(const struct kv *kv)
{
    return kv->state.last_index <= BLANK_INDEX && kv->state.term <= BLANK_TERM;
}

static bool was_started(const struct kv *kv, const struct member *m)
{
    return *m->name || m->was_heard || m->id == kv->member_id;
}

static void fill_members(const struct kv *kv, struct arena *a, Peerpb__Answer *ret_answer)
{
    size_t count = kv->members.count;
    Peerpb__ListedMember *members = arena_new(a, (count + 1) * sizeof *members);
    Peerpb__ListedMember **list = arena_new(a, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        const struct member *m = &kv->members.list[i];
        peerpb__listed_member__init(&members[i]);
        members[i].id = m->id;
        members[i].name = m->name;
        members[i].peer_urls = m->peer_urls;
        members[i].n_peer_urls = m->peer_url_count;
        members[i].is_learner = m->is_learner;
        members[i].was_started = was_started(kv, m);
        list[i] = &members[i];
    }
    ret_answer->n_members = count;
    ret_answer->members = list;
}

/* A member that joins and has no state yet knows nothing that would help: UNKNOWN. */
static void answer_who(struct kv *kv, struct peer_served_query *question, uint64_t run)
{
    Peerpb__Answer answer = PEERPB__ANSWER__INIT;
    struct arena arena = {0};
    const struct member *self = member_find(&kv->members, kv->member_id);
    uint64_t applied = store_applied_index(kv->store);
    answer.run = run;
    answer.name = kv->settings.name;
    answer.cluster_id = kv->cluster_id;
    answer.member_id = kv->member_id;
    if (kv_removed_ms(kv) || (applied && !self)) {
        answer.state = PEERPB__ANSWER__STATE__REMOVED;
    } else if (applied) {
        answer.state = PEERPB__ANSWER__STATE__STARTED;
        answer.peer_urls = self->peer_urls;
        answer.n_peer_urls = self->peer_url_count;
        answer.leader = kv->state.leader;
        answer.term = kv->state.term;
        answer.applied_index = applied;
        answer.is_blank = is_blank(kv);
        answer.is_settled = !node_has_change_waiting(kv->node);
        fill_members(kv, &arena, &answer);
    }
    send_answer(kv, question, &answer);
    arena_done(&arena);
}

/* --- requests of processes -------------------------------------------------------------------------- */
static void answer_with(struct kv *kv, struct peer_served_query *question, uint64_t run,
                        Peerpb__Answer__Outcome outcome, const char *reason)
{
    Peerpb__Answer answer = PEERPB__ANSWER__INIT;
    answer.run = run;
    answer.outcome = outcome;
    answer.reason = (char *)(uintptr_t)reason;
    send_answer(kv, question, &answer);
}

static void answer_outcome(struct kv *kv, struct peer_served_query *question, uint64_t run,
                           const char *refusal)
{
    answer_with(kv, question, run, refusal ? PEERPB__ANSWER__OUTCOME__LATER : PEERPB__ANSWER__OUTCOME__DONE,
                refusal ? refusal : "");
}

static void on_request_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct pending *w = container_of(r, struct pending, request);
    struct kv *kv = w->kv;
    (void)response;
    if (w->query->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM)
        kv->bootstrap.is_claim_pending = false;
    if (!err)
        log_info("did what a starting member asked for", F_INT("kind", w->query->kind),
                 F_STR("name", w->query->name), F_HEX("member-id", w->query->member_id));
    answer_outcome(kv, w->question, w->query->run, err ? err_text(err) : NULL);
    peerpb__bootstrap_query__free_unpacked(w->query, NULL);
    mem_free(w);
}

static bool has_url_of(const struct member *m, const Peerpb__BootstrapQuery *q)
{
    for (size_t i = 0; i < m->peer_url_count; i++)
        for (size_t j = 0; j < q->n_peer_urls; j++)
            if (strcmp(m->peer_urls[i], q->peer_urls[j]) == 0)
                return true;
    return false;
}

/* NULL: it may be done. */
static const char *refusal_of(struct kv *kv, const Peerpb__BootstrapQuery *q)
{
    const struct member *m = member_find(&kv->members, q->member_id);
    bool is_claim = q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM;
    if (q->cluster_id != kv->cluster_id)
        return "this is a member of another cluster";
    if (!kv->state.is_leader)
        return "this member does not lead";
    if (!protobuf_c_enum_descriptor_get_value(&peerpb__bootstrap_query__kind__descriptor, (int)q->kind))
        return "this version does not know this request: a later one may";
    if (q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__ADD)
        return NULL;
    if (!m || !has_url_of(m, q))
        return "the cluster has no such member at these peer URLs";
    if (kv_peer_is_active(kv, m->id, kv_now_ms(kv)))
        return "that member is still connected: has it been started twice?";
    if (is_claim && kv->bootstrap.is_claim_pending)
        return "another claim is under way";
    if (is_claim && was_started(kv, m))
        return "that member has been started before";
    return NULL;
}

static void start_request(struct kv *kv, struct peer_served_query *question, Peerpb__BootstrapQuery *q)
{
    struct pending *w = mem_new(sizeof *w);
    *w = (struct pending){.request.done = on_request_done, .kv = kv, .question = question, .query = q};
    if (q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM) {
        kv->bootstrap.claimed_id = q->member_id;
        kv->bootstrap.claimed_run = q->run;
        kv->bootstrap.is_claim_pending = true;
        etcdserverpb__attributes__init(&w->attributes);
        w->attributes.name = q->name;
        etcdserverpb__cluster_member_attr_set_request__init(&w->u.name);
        w->u.name.member_id = q->member_id;
        w->u.name.member_attributes = &w->attributes;
        kv_start_write(kv, &w->request, KV_MEMBER_CLAIM, ENTRY_MEMBER_ATTRIBUTES, &w->u.name.base, 0);
        return;
    }
    etcdserverpb__member_add_request__init(&w->u.add);
    w->u.add.n_peerurls = q->n_peer_urls;
    w->u.add.peerurls = q->peer_urls;
    w->u.add.islearner = true;
    if (q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__ADD)
        kv_member_add_joining(kv, &w->request, &w->u.add);
    else
        kv_member_replace(kv, &w->request, q->member_id, &w->u.add);
}

/* The answer to its claim was lost, and this run sends it again. */
static bool is_granted(const struct kv *kv, const Peerpb__BootstrapQuery *q)
{
    const struct member *m = member_find(&kv->members, q->member_id);
    return q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM && m && *m->name && !m->was_heard &&
           !kv->bootstrap.is_claim_pending && kv->bootstrap.claimed_id == q->member_id &&
           kv->bootstrap.claimed_run == q->run;
}

/* --- the proof --------------------------------------------------------------------------------------- */
static const char proof_required[] =
    "the cluster has --require-peer-proof: give this member the same --join-token-file, or a certificate of "
    "the peer CA (--peer-trusted-ca-file) that is for its peer URLs";
static const char announce_first[] =
    "the cluster does not list this member, and adds one that nobody announced only with a proof: announce "
    "it "
    "with `etcdctl member add`, or give all members the same --join-token-file, or peer TLS with "
    "--peer-trusted-ca-file";
static const char not_confirmed[] =
    "no process at the peer URL that the cluster lists for this member confirmed that it asks: start it "
    "where "
    "that URL leads, or give all members the same --join-token-file, or peer TLS with --peer-trusted-ca-file";

static enum peer_operation operation_of(const Peerpb__BootstrapQuery *q)
{
    switch (q ? q->kind : PEERPB__BOOTSTRAP_QUERY__KIND__WHO) {
    case PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM:
        return PEER_QUERY_CLAIM;
    case PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE:
        return PEER_QUERY_REPLACE;
    case PEERPB__BOOTSTRAP_QUERY__KIND__WHO:
        return PEER_QUERY_WHO;
    case PEERPB__BOOTSTRAP_QUERY__KIND__ADD:
    default: /* a kind that this version does not know needs what the strictest needs */
        return PEER_QUERY_ADD;
    }
}

static bool is_in_list(const char *url, struct slice list)
{
    while (list.size) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma ? (size_t)(comma - list.data) : list.size;
        if (slice_equal(slice_text(url), slice_of(list.data, size)))
            return true;
        list = comma ? slice_of(comma + 1, list.size - size - 1) : (struct slice){0};
    }
    return false;
}

/* A certificate is for the URLs of the opening: a query for another member's does not have that proof. */
static enum peer_proof proof_of(const Peerpb__BootstrapQuery *q, const struct peer_query_sender *asker)
{
    for (size_t i = 0; q && asker->proof == PEER_PROOF_CERTIFICATE && i < q->n_peer_urls; i++)
        if (!is_in_list(q->peer_urls[i], asker->urls))
            return PEER_PROOF_NONE;
    return asker->proof;
}

/* Takes q. */
static void do_or_refuse(struct kv *kv, struct peer_served_query *question, Peerpb__BootstrapQuery *q)
{
    const char *refusal = is_granted(kv, q) ? NULL : refusal_of(kv, q);
    if (!refusal && !is_granted(kv, q)) {
        start_request(kv, question, q);
        return;
    }
    answer_outcome(kv, question, q->run, refusal);
    peerpb__bootstrap_query__free_unpacked(q, NULL);
}

static void on_confirmed(void *arg, bool is_confirmed)
{
    struct confirmation *p = arg;
    struct kv *kv = p->kv;
    struct peer_served_query *question = p->question;
    Peerpb__BootstrapQuery *q = p->query;
    list_remove(&p->link);
    mem_free(p);
    if (is_confirmed) {
        do_or_refuse(kv, question, q);
        kv_schedule_turn(kv);
        return;
    }
    log_warn("a starting member was not confirmed by its recorded peer URL", F_INT("kind", q->kind),
             F_STR("name", q->name), F_HEX("member-id", q->member_id));
    answer_outcome(kv, question, q->run, not_confirmed);
    peerpb__bootstrap_query__free_unpacked(q, NULL);
}

/* Takes q. */
static void confirm_first(struct kv *kv, struct peer_served_query *question, Peerpb__BootstrapQuery *q)
{
    const struct member *m = member_find(&kv->members, q->member_id);
    struct confirmation *p = mem_new(sizeof *p);
    *p = (struct confirmation){.kv = kv, .question = question, .query = q};
    list_add_last(&kv->bootstrap.confirming, &p->link);
    kv->peers->ops->confirm(kv->peers, question, (const char *const *)m->peer_urls, m->peer_url_count,
                            on_confirmed, p);
}

void kv_bootstrap_close(struct kv *kv)
{
    struct link *l;
    while ((l = list_take_first(&kv->bootstrap.confirming))) {
        struct confirmation *p = container_of(l, struct confirmation, link);
        answer_outcome(kv, p->question, p->query->run, "this member is stopping");
        peerpb__bootstrap_query__free_unpacked(p->query, NULL);
        mem_free(p);
    }
}

/* Takes q. */
static void answer_request(struct kv *kv, struct peer_served_query *question, enum peer_verdict verdict,
                           Peerpb__BootstrapQuery *q)
{
    const char *too_old =
        kv->state.is_leader && q->cluster_id == kv->cluster_id ? kv_feature_refusal(kv, q->level) : NULL;
    if (too_old) {
        answer_with(kv, question, q->run, PEERPB__ANSWER__OUTCOME__REFUSED, too_old);
        peerpb__bootstrap_query__free_unpacked(q, NULL);
        return;
    }
    const char *refusal = is_granted(kv, q) ? NULL : refusal_of(kv, q);
    bool is_add = operation_of(q) == PEER_QUERY_ADD;
    if (!refusal && verdict == PEER_ACCEPT) {
        do_or_refuse(kv, question, q);
        return;
    }
    if (!refusal && verdict == PEER_DIAL_BACK) {
        confirm_first(kv, question, q);
        return;
    }
    if (!refusal)
        log_warn("refused to do what a process without a proof asks for", F_INT("kind", q->kind),
                 F_STR("name", q->name), F_HEX("member-id", q->member_id));
    if (refusal)
        answer_outcome(kv, question, q->run, refusal);
    else
        answer_with(kv, question, q->run,
                    is_add ? PEERPB__ANSWER__OUTCOME__REFUSED : PEERPB__ANSWER__OUTCOME__LATER,
                    is_add && !kv->settings.requires_peer_proof ? announce_first : proof_required);
    peerpb__bootstrap_query__free_unpacked(q, NULL);
}

static void answer_query(struct kv *kv, struct peer_served_query *question,
                         const struct peer_query_sender *asker, struct slice text)
{
    Peerpb__BootstrapQuery *q = boot_read_query(text);
    enum peer_operation operation = operation_of(q);
    enum peer_verdict verdict =
        peer_proof_judge(operation, proof_of(q, asker), kv->settings.requires_peer_proof);
    bool is_who = operation == PEER_QUERY_WHO || kv_removed_ms(kv) || kv_is_closing(kv);
    if (!is_who) {
        answer_request(kv, question, verdict, q);
        return;
    }
    if (verdict == PEER_ACCEPT || !kv->settings.requires_peer_proof)
        answer_who(kv, question, q ? q->run : 0);
    else
        answer_with(kv, question, q ? q->run : 0, PEERPB__ANSWER__OUTCOME__REFUSED, proof_required);
    if (q)
        peerpb__bootstrap_query__free_unpacked(q, NULL);
}

void kv_on_query(struct kv *kv,
                 void (*fn)(void *arg, struct peer_served_query *question,
                            const struct peer_query_sender *asker, struct slice text),
                 void *arg)
{
    kv->bootstrap.on_query = fn;
    kv->bootstrap.on_query_arg = arg;
}

void kv_dispatch_query(struct kv *kv, struct peer_served_query *question,
                       const struct peer_query_sender *asker, struct slice text)
{
    if (kv->bootstrap.on_query && !kv_is_closing(kv))
        kv->bootstrap.on_query(kv->bootstrap.on_query_arg, question, asker, text);
    else
        answer_query(kv, question, asker, text);
}

void kv_bootstrap_init(struct kv_bootstrap *b)
{
    list_init(&b->confirming);
}
