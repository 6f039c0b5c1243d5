/* SPDX-License-Identifier: Apache-2.0
 * Rules for the start of a member without data; see boot_rules.h.
 *
 * Cases and results. Each row is a test in tests/unit/boot_test.c. "Blank" is explained in boot_rules.h; an
 * "entry" is a member in a running cluster's member list.
 *
 *   case                                       | result
 *   -------------------------------------------+----------------------------------------------------------
 *   Nobody has begun
 *   all start together, without data           | each begins when it has found all others blank
 *   one began before the others queried it     | without a term it is still blank; with a term, others found
 *                                              | it blank before: that counts as long as their process runs
 *   one dies after it was found blank          | it returns with a new run number and queries again; after an
 *                                              | election it is replaced: it cannot know whether it had begun
 *   all die, only some had begun               | those are blank: the others begin
 *   an answer comes late, or to another run    | it carries that run's number: dropped
 *   the flags differ                           | nobody begins; each reports the difference
 *   a quorum starts, the others are late       | `new`: the quorum begins after BOOT_QUORUM_MS; the others are
 *                                              | replaced when they come. `auto`: it waits
 *   -------------------------------------------+----------------------------------------------------------
 *   Data was lost
 *   one of three lost its disk                 | the others have a leader: it is replaced
 *   two of three lost their disks              | the third is not blank and has no leader: all wait until the
 *                                              | operator starts the third with --force-new-cluster
 *   all lost their disks                       | nobody can know: they begin again
 *   the flags name only this member, but the   | there is nobody to query: it begins anew, and ends when an
 *   cluster has grown, and its disk is lost    | unknown member connects (kv/peer_events.c); it accepts no message
 *   -------------------------------------------+----------------------------------------------------------
 *   Joining a running cluster
 *   `member add`, then started                 | its entry has no name: claimed, then joined
 *   ... it dies between claim and start        | its entry has a name: replaced
 *   ... as the second voter of a cluster of    | no claim: it could not be committed without this vote. It is
 *   one                                        | safe: every quorum of two includes the other voter
 *   replaced, the answer was lost              | its URLs have an entry with a new id and no name: claimed
 *   replacement requested, then all others     | the leader may have done it: this run does not begin
 *   were found blank                           |
 *   replacement requested twice                | the second names a removed id: LATER, then as above
 *   not listed, --initial-cluster-state=auto   | requests ADD as `existing` does; begins as `new` does when
 *                                              | all are blank
 *   started twice with the same flags          | the leader still hears the first process: LATER
 *   a removed member is queried                | it says so; it counts as not reached
 *   a member that is behind is queried         | its list may be old: only the leader changes anything. "Not
 *                                              | listed" is final from the leader, or after 3 s
 *   members of two clusters                    | an error */
#include "consensus/node/boot_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "consensus/node/identity.h"

/* --- flags ---------------------------------------------------------------------------------------------- */
static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_in(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0)
            return true;
    return false;
}

static struct boot_peer *find_or_add_peer(struct boot_rules *r, const char *name)
{
    for (size_t i = 0; i < r->peer_count; i++)
        if (strcmp(r->peers[i].name, name) == 0)
            return &r->peers[i];
    struct boot_peer *p = &r->peers[r->peer_count++];
    *p = (struct boot_peer){.name = name, .urls = mem_new((r->self.cluster_count + 1) * sizeof(char *))};
    return p;
}

/* The ids that kv_open derives from the same flags. */
static void derive_ids(struct boot_rules *r)
{
    uint64_t *ids = mem_new((r->peer_count + 1) * sizeof *ids);
    const char **own = mem_new((r->self.cluster_count + 1) * sizeof *own);
    size_t own_count = 0;
    for (size_t i = 0; i < r->self.cluster_count; i++)
        if (strcmp(r->self.cluster[i].name, r->self.name) == 0)
            own[own_count++] = r->self.cluster[i].peer_url;
    r->member_id = identity_member_id(own, own_count, r->self.token);
    ids[0] = r->member_id;
    for (size_t i = 0; i < r->peer_count; i++)
        ids[i + 1] = identity_member_id(r->peers[i].urls, r->peers[i].url_count, r->self.token);
    r->cluster_id = identity_cluster_id(ids, r->peer_count + 1);
    mem_free(own);
    mem_free(ids);
}

void boot_rules_init(struct boot_rules *r, const struct boot_self *self)
{
    *r = (struct boot_rules){.self = *self};
    r->peers = mem_new((self->cluster_count + 1) * sizeof *r->peers);
    r->cluster = mem_new((self->cluster_count + 1) * sizeof *r->cluster);
    struct buf text = {0};
    for (size_t i = 0; i < self->cluster_count; i++) {
        const struct kv_member_option *m = &self->cluster[i];
        buf_clear(&text);
        buf_addf(&text, "%s=%s", m->name, m->peer_url);
        r->cluster[r->cluster_count++] = mem_string(buf_text(&text));
        if (strcmp(m->name, self->name) == 0)
            continue;
        struct boot_peer *p = find_or_add_peer(r, m->name);
        p->urls[p->url_count++] = m->peer_url;
    }
    buf_done(&text);
    qsort(r->cluster, r->cluster_count, sizeof *r->cluster, compare_text);
    derive_ids(r);
}

static void drop_answer(struct boot_peer *p)
{
    if (p->answer)
        peerpb__answer__free_unpacked(p->answer, NULL);
    p->answer = NULL;
}

void boot_rules_done(struct boot_rules *r)
{
    for (size_t i = 0; i < r->peer_count; i++) {
        drop_answer(&r->peers[i]);
        mem_free(r->peers[i].urls);
    }
    for (size_t i = 0; i < r->cluster_count; i++)
        mem_free(r->cluster[i]);
    mem_free(r->peers);
    mem_free(r->cluster);
    *r = (struct boot_rules){0};
}

void boot_rules_describe(const struct boot_rules *r, Peerpb__Answer *ret_answer)
{
    peerpb__answer__init(ret_answer);
    ret_answer->state = PEERPB__ANSWER__STATE__EMPTY;
    ret_answer->name = (char *)(uintptr_t)r->self.name;
    ret_answer->n_peer_urls = r->self.peer_url_count;
    ret_answer->peer_urls = (char **)(uintptr_t)r->self.peer_urls;
    ret_answer->token = (char *)(uintptr_t)r->self.token;
    ret_answer->n_initial_cluster = r->cluster_count;
    ret_answer->initial_cluster = r->cluster;
    ret_answer->is_existing = r->self.is_existing;
}

/* --- answers -------------------------------------------------------------------------------------------- */
static bool has_our_flags(const struct boot_rules *r, const Peerpb__Answer *a)
{
    if (strcmp(a->token, r->self.token) != 0 || a->n_initial_cluster != r->cluster_count)
        return false;
    for (size_t i = 0; i < r->cluster_count; i++)
        if (strcmp(a->initial_cluster[i], r->cluster[i]) != 0)
            return false;
    return true;
}

void boot_rules_answer(struct boot_rules *r, size_t peer, Peerpb__Answer *answer)
{
    struct boot_peer *p = &r->peers[peer];
    if (answer && (answer->run != r->self.run || answer->state == PEERPB__ANSWER__STATE__UNKNOWN ||
                   answer->state == PEERPB__ANSWER__STATE__REMOVED)) {
        peerpb__answer__free_unpacked(answer, NULL);
        answer = NULL;
    }
    drop_answer(p);
    p->answer = answer;
    if (!answer)
        return;
    if (answer->state == PEERPB__ANSWER__STATE__EMPTY)
        p->was_blank |= has_our_flags(r, answer) && strcmp(answer->name, p->name) == 0;
    else if (answer->is_blank && answer->cluster_id == r->cluster_id)
        p->was_blank = true;
    else
        p->had_data |= !p->was_blank;
}

void boot_rules_outcome(struct boot_rules *r, const struct boot_decision *request,
                        const Peerpb__Answer *answer)
{
    bool is_done = answer && answer->run == r->self.run && answer->outcome == PEERPB__ANSWER__OUTCOME__DONE;
    if (is_done && request->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM) {
        r->claimed_id = request->member_id; /* the member list of that decision is recent enough */
        return;
    }
    for (size_t i = 0; i < r->peer_count; i++)
        drop_answer(&r->peers[i]);
}

/* --- no cluster yet ----------------------------------------------------------------------------------- */
static void boot_rules_refuse(struct boot_decision *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void boot_rules_refuse(struct boot_decision *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    d->step = BOOT_REFUSE;
    vsnprintf(d->text, sizeof d->text, format, args);
    va_end(args);
}

/* The first line that only `list` has; NULL: none. */
static const char *only_in(char *const *list, size_t count, char *const *other, size_t other_count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_in(list[i], (const char *const *)other, other_count))
            return list[i];
    return NULL;
}

/* True when an empty member has other flags than this one; then d->text names the difference. */
static bool find_difference(const struct boot_rules *r, struct boot_decision *d)
{
    for (size_t i = 0; i < r->peer_count; i++) {
        const struct boot_peer *p = &r->peers[i];
        const Peerpb__Answer *a = p->answer;
        if (!a || a->state != PEERPB__ANSWER__STATE__EMPTY)
            continue;
        if (strcmp(a->name, p->name) != 0) {
            boot_rules_refuse(d, "--initial-cluster has %.200s=%.200s, but the member there is named %.200s",
                              p->name, p->urls[0], a->name);
            return true;
        }
        if (strcmp(a->token, r->self.token) != 0) {
            boot_rules_refuse(d, "--initial-cluster-token is \"%.200s\" here and \"%.200s\" on %.200s",
                              r->self.token, a->token, p->name);
            return true;
        }
        if (has_our_flags(r, a))
            continue;
        const char *ours = only_in(r->cluster, r->cluster_count, a->initial_cluster, a->n_initial_cluster);
        const char *theirs = only_in(a->initial_cluster, a->n_initial_cluster, r->cluster, r->cluster_count);
        boot_rules_refuse(d, "--initial-cluster differs between this member and %.200s: only %s has %.300s",
                          p->name, ours ? "this member" : "that one",
                          ours     ? ours
                          : theirs ? theirs
                                   : "one of them twice");
        return true;
    }
    return false;
}

static void add_name(struct boot_decision *d, const char *name, const char *url)
{
    size_t n = strlen(d->text);
    snprintf(d->text + n, sizeof d->text - n, "%s%.60s (%.200s)", n ? ", " : "", name, url);
}

static bool were_all_blank(const struct boot_rules *r)
{
    for (size_t i = 0; i < r->peer_count; i++)
        if (!r->peers[i].was_blank)
            return false;
    return true;
}

/* True when this member and the blank ones are a quorum that has waited long enough for the others, and no
 * member with data was met. */
static bool is_quorum_blank(struct boot_rules *r, uint64_t now_ms)
{
    size_t blank = 1;
    bool has_data = false;
    for (size_t i = 0; i < r->peer_count; i++) {
        blank += r->peers[i].was_blank;
        has_data |= r->peers[i].had_data;
    }
    if (r->self.is_existing || r->self.is_auto || !r->self.auto_join || has_data ||
        blank <= (r->peer_count + 1) / 2)
        return false;
    if (!r->quorum_since_ms)
        r->quorum_since_ms = now_ms ? now_ms : 1;
    return now_ms - r->quorum_since_ms >= BOOT_QUORUM_MS;
}

static bool may_begin(struct boot_rules *r, uint64_t now_ms)
{
    return !r->is_replacing && (were_all_blank(r) || is_quorum_blank(r, now_ms));
}

static void decide_beginning(struct boot_rules *r, uint64_t now_ms, struct boot_decision *d)
{
    size_t answered = 0, existing_count = r->self.is_existing;
    for (size_t i = 0; i < r->peer_count; i++) {
        answered += r->peers[i].answer != NULL;
        existing_count += r->peers[i].answer && r->peers[i].answer->is_existing;
        if (!r->peers[i].answer && !r->peers[i].was_blank)
            add_name(d, r->peers[i].name, r->peers[i].urls[0]);
    }
    if (!r->self.is_existing && find_difference(r, d))
        return;
    if (existing_count == r->peer_count + 1) {
        boot_rules_refuse(d, "all members of --initial-cluster are empty and have "
                             "--initial-cluster-state=existing: start them "
                             "with --initial-cluster-state=new");
        return;
    }
    if (r->self.is_existing) {
        if (answered == r->peer_count)
            snprintf(d->text, sizeof d->text, "another member to begin the cluster");
    } else if (may_begin(r, now_ms)) {
        d->step = BOOT_BOOTSTRAP;
        d->member_id = r->member_id;
    }
}

/* --- a running cluster -------------------------------------------------------------------------------- */
/* The answer of the started member that knows most: it sees a leader, then the highest term, then the highest
 * applied index. NULL: no member is started. */
static const Peerpb__Answer *best_answer(const struct boot_rules *r)
{
    const Peerpb__Answer *best = NULL;
    for (size_t i = 0; i < r->peer_count; i++) {
        const Peerpb__Answer *a = r->peers[i].answer;
        if (!a || a->state != PEERPB__ANSWER__STATE__STARTED)
            continue;
        bool is_better = !best || (a->leader != 0) > (best->leader != 0);
        if (best && (a->leader != 0) == (best->leader != 0))
            is_better = a->term != best->term ? a->term > best->term : a->applied_index > best->applied_index;
        if (is_better)
            best = a;
    }
    return best;
}

static bool are_of_one_cluster(const struct boot_rules *r, const Peerpb__Answer *best,
                               struct boot_decision *d)
{
    for (size_t i = 0; i < r->peer_count; i++) {
        const Peerpb__Answer *a = r->peers[i].answer;
        if (!a || a->state != PEERPB__ANSWER__STATE__STARTED || a->cluster_id == best->cluster_id)
            continue;
        boot_rules_refuse(d,
                          "--initial-cluster names members of two clusters: %.200s is of %" PRIx64
                          ", %.200s of %" PRIx64,
                          best->name, best->cluster_id, a->name, a->cluster_id);
        return false;
    }
    return true;
}

static const Peerpb__ListedMember *find_member_entry(const Peerpb__Answer *a, uint64_t id)
{
    for (size_t i = 0; i < a->n_members; i++)
        if (a->members[i]->id == id)
            return a->members[i];
    return NULL;
}

static const Peerpb__ListedMember *find_own_entry(const struct boot_rules *r, const Peerpb__Answer *a)
{
    for (size_t i = 0; i < a->n_members; i++)
        for (size_t j = 0; j < a->members[i]->n_peer_urls; j++)
            if (is_in(a->members[i]->peer_urls[j], r->self.peer_urls, r->self.peer_url_count))
                return a->members[i];
    return NULL;
}

/* True for two voters, the member that answers and a new one. Every quorum has both. So no earlier vote or
 * acknowledgement of the new one can be broken without the other, which remembers. `is_settled`: no third
 * voter can have been added since. */
static bool is_second_of_two(const Peerpb__Answer *a, const Peerpb__ListedMember *entry)
{
    bool has_other = false;
    if (entry->is_learner || !a->is_settled)
        return false;
    for (size_t i = 0; i < a->n_members; i++) {
        const Peerpb__ListedMember *s = a->members[i];
        if (s->is_learner || s == entry)
            continue;
        if (s->id != a->member_id)
            return false;
        has_other = true;
    }
    return has_other;
}

static void request_from_leader(struct boot_rules *r, struct boot_decision *d,
                                Peerpb__BootstrapQuery__Kind kind, uint64_t member_id)
{
    const Peerpb__ListedMember *leader = d->best->leader ? find_member_entry(d->best, d->best->leader) : NULL;
    if (!leader || !leader->n_peer_urls) {
        snprintf(d->text, sizeof d->text,
                 "a leader of cluster %" PRIx64
                 "; if most of its members are lost for good, start one that is "
                 "left with --force-new-cluster",
                 d->best->cluster_id);
        return;
    }
    r->is_replacing |= kind == PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE;
    d->step = BOOT_REQUEST;
    d->kind = kind;
    d->member_id = member_id;
    d->urls = leader->peer_urls;
    d->url_count = leader->n_peer_urls;
}

static void decide_not_listed(struct boot_rules *r, uint64_t now_ms, struct boot_decision *d)
{
    const Peerpb__Answer *a = d->best;
    if ((r->self.is_existing || r->self.is_auto) && r->self.auto_join) {
        request_from_leader(r, d, PEERPB__BOOTSTRAP_QUERY__KIND__ADD, 0);
        return;
    }
    if (!r->not_listed_since_ms)
        r->not_listed_since_ms = now_ms ? now_ms : 1;
    bool is_final = a->leader == a->member_id || now_ms - r->not_listed_since_ms >= BOOT_NOT_LISTED_MS;
    if (!is_final)
        snprintf(d->text, sizeof d->text, "cluster %" PRIx64 " to list this member", a->cluster_id);
    else if (r->self.is_existing)
        boot_rules_refuse(
            d,
            "error validating peerURLs: unmatched member while checking PeerURLs: cluster %" PRIx64
            " does not list %.300s; add it with `etcdctl member add`, or let it add itself (--auto-join)",
            a->cluster_id, r->self.peer_urls[0]);
    else
        boot_rules_refuse(
            d,
            "%.200s has begun cluster %" PRIx64 " already, and that does not list %.300s: start this member "
            "with --initial-cluster-state=existing, or give all an --initial-cluster-token of their own and "
            "empty folders",
            a->name, a->cluster_id, r->self.peer_urls[0]);
}

static void decide_listed(struct boot_rules *r, const Peerpb__ListedMember *entry, uint64_t now_ms,
                          struct boot_decision *d)
{
    const Peerpb__Answer *a = d->best;
    bool is_of_flags = a->cluster_id == r->cluster_id && entry->id == r->member_id;
    d->member_id = entry->id;
    if (r->claimed_id == entry->id)
        d->step = BOOT_JOIN;
    else if (is_of_flags && may_begin(r, now_ms))
        d->step = BOOT_BOOTSTRAP;
    else if (!entry->was_started && is_second_of_two(a, entry))
        d->step = BOOT_JOIN;
    else if (!entry->was_started)
        request_from_leader(r, d, PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM, entry->id);
    else if (r->self.auto_join)
        request_from_leader(r, d, PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE, entry->id);
    else
        boot_rules_refuse(d,
                          "member %" PRIx64
                          " has already been bootstrapped: its data is lost; remove it and add it anew, "
                          "or let it do so itself (--auto-join)",
                          entry->id);
}

void boot_rules_decide(struct boot_rules *r, uint64_t now_ms, struct boot_decision *ret_decision)
{
    struct boot_decision *d = ret_decision;
    *d = (struct boot_decision){.step = BOOT_WAIT};
    if (!r->peer_count) {
        if (r->self.is_existing)
            boot_rules_refuse(
                d, "--initial-cluster-state=existing, but --initial-cluster names no other member");
        else
            d->step = BOOT_BOOTSTRAP;
        d->member_id = r->member_id;
        return;
    }
    d->best = best_answer(r);
    if (!d->best) {
        decide_beginning(r, now_ms, d);
        return;
    }
    if (!are_of_one_cluster(r, d->best, d))
        return;
    const Peerpb__ListedMember *entry = find_own_entry(r, d->best);
    if (!entry) {
        decide_not_listed(r, now_ms, d);
        return;
    }
    r->not_listed_since_ms = 0;
    decide_listed(r, entry, now_ms, d);
}
