/* SPDX-License-Identifier: Apache-2.0
 * Random walks of three to five members with the real rules of a start (boot_rules.c) over a small model of
 * raft. Each member is started, is killed, and loses its disk. Answers are lost, arrive late, or arrive in
 * the next run. Elections, commits and member changes happen at random between. Each step checks two rules:
 *
 * - No committed entry is lost or differs anywhere. Two clusters from one set of flags would begin the same
 *   log with different entries.
 * - No id ever counts in a quorum from two disks.
 *
 * Afterwards nothing is lost any more, and all members must join one cluster. The walk never loses more
 * disks at a time than the members can tolerate: after more losses no rule can hold.
 *
 * There are two kinds of walks: with --initial-cluster-state=auto disks are lost; with `new`, where a quorum
 * begins, none is, and the last member may come when the others have begun (boot_rules.h says why). */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "consensus/node/boot.h"
#include "consensus/node/boot_rules.h"

enum { NODES_MAX = 5, LOG_MAX = 600, MEMBERS_MAX = 8, IDS_MAX = 4096, LATE_MAX = 64 };

enum what { NOTHING, REPLACE, NAME, PROMOTE };

struct entry {
    uint64_t term, serial, id, old_id;
    enum what what;
};

struct member {
    uint64_t id;
    int node;
    bool is_learner, has_name;
};

struct config {
    struct member members[MEMBERS_MAX];
    int count;
};

struct model_node {
    /* The disk. */
    bool has_data, is_joined;
    unsigned disk;
    uint64_t id, term;
    struct entry log[LOG_MAX];
    size_t size, commit;
    /* The process. */
    enum { DOWN, BOOTING, RUNNING } state;
    bool is_leader;
    uint64_t leader, run;
    uint64_t known_ids[MEMBERS_MAX];
    int known_count;
    uint64_t matches; /* nodes that have all of the leader's log, as bits */
    struct boot_rules rules;
    struct boot_decision request;
    int asked_leader; /* -1 = no change in progress */
    uint64_t asked_serial;
};

static struct model_node nodes[NODES_MAX];
static int node_count;
static char names[NODES_MAX][4], urls[NODES_MAX][8];
static struct kv_member_option flags[NODES_MAX];
static const char *own_urls[NODES_MAX];
static uint64_t first_ids[NODES_MAX], cluster_id;
static struct entry committed[LOG_MAX];
static size_t committed_size;
static uint64_t serial, next_id, next_run, seed, promised_ids[IDS_MAX];
static unsigned promised_disks[IDS_MAX];
static size_t promised_count;
static unsigned next_disk;
static bool is_quorum_walk;
static int absent; /* the node that is not started yet; -1 = none */
static uint64_t now_ms;
static struct {
    int asker, peer; /* peer: as the rules of the querying member count */
    uint64_t run;
    Peerpb__Answer *answer;
} late[LATE_MAX];
static int late_count;
static struct {
    unsigned begun, begun_without, joined, replaced, claimed, wiped, waited;
} seen;

static uint64_t draw(uint64_t n)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % n;
}

/* --- the model of raft ------------------------------------------------------------------------------ */
static int seat_of(const struct config *c, uint64_t id)
{
    for (int i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return i;
    return -1;
}

static void config_at(const struct entry *log, size_t count, struct config *c)
{
    c->count = node_count;
    for (int i = 0; i < node_count; i++)
        c->members[i] = (struct member){first_ids[i], i, false, true};
    for (size_t i = 0; i < count; i++) {
        int at = seat_of(c, log[i].what == REPLACE ? log[i].old_id : log[i].id);
        if (at < 0)
            continue;
        if (log[i].what == REPLACE)
            c->members[at] = (struct member){log[i].id, c->members[at].node, true, false};
        else if (log[i].what == NAME)
            c->members[at].has_name = true;
        else if (log[i].what == PROMOTE)
            c->members[at].is_learner = false;
    }
}

static int voters_of(const struct config *c)
{
    int n = 0;
    for (int i = 0; i < c->count; i++)
        n += !c->members[i].is_learner;
    return n;
}

/* Node i under the identity that the configuration lists for it, as a voter. */
static bool is_voter(const struct config *c, const struct model_node *n)
{
    int at = n->has_data ? seat_of(c, n->id) : -1;
    return at >= 0 && !c->members[at].is_learner;
}

static void counts_in_quorum(const struct model_node *n)
{
    for (size_t i = 0; i < promised_count; i++) {
        if (promised_ids[i] != n->id)
            continue;
        if (promised_disks[i] != n->disk)
            fail_msg("%llx counts in a quorum from two disks", (unsigned long long)n->id);
        return;
    }
    assert_true(promised_count < IDS_MAX);
    promised_ids[promised_count] = n->id;
    promised_disks[promised_count++] = n->disk;
}

static void learn_id(struct model_node *n, uint64_t id)
{
    for (int i = 0; i < n->known_count; i++)
        if (n->known_ids[i] == id)
            return;
    if (n->known_count < MEMBERS_MAX)
        n->known_ids[n->known_count++] = id;
}

static bool knows_id(const struct model_node *n, uint64_t id)
{
    for (int i = 0; i < n->known_count; i++)
        if (n->known_ids[i] == id)
            return true;
    return false;
}

static struct entry *append(struct model_node *n, enum what what)
{
    assert_true(n->size < LOG_MAX);
    struct entry *e = &n->log[n->size++];
    *e = (struct entry){.term = n->term, .serial = ++serial, .what = what};
    n->matches = 0;
    return e;
}

static bool is_up_to_date(const struct model_node *candidate, const struct model_node *voter)
{
    uint64_t a = candidate->size ? candidate->log[candidate->size - 1].term : 0;
    uint64_t b = voter->size ? voter->log[voter->size - 1].term : 0;
    return a != b ? a > b : candidate->size >= voter->size;
}

/* With pre-vote: nothing changes when too few would vote. A candidate that is refused for its term learns the
 * higher one. */
static void campaign(int i, uint64_t reached)
{
    struct model_node *n = &nodes[i];
    struct config c;
    config_at(n->log, n->commit, &c);
    if (n->state != RUNNING || !is_voter(&c, n) || (n->is_joined && !n->size) || n->size > LOG_MAX - 20)
        return;
    uint64_t term = n->term + 1, votes = 1u << i;
    int count = 1;
    for (int j = 0; j < node_count; j++)
        if (reached >> j & 1 && nodes[j].state == RUNNING && nodes[j].term >= term)
            term = nodes[j].term + 1;
    for (int j = 0; j < node_count; j++) {
        struct model_node *v = &nodes[j];
        if (j == i || !(reached >> j & 1) || v->state != RUNNING || !is_voter(&c, v) || v->term >= term ||
            !is_up_to_date(n, v))
            continue;
        votes |= 1u << j;
        count++;
    }
    if (count <= voters_of(&c) / 2)
        return;
    for (int j = 0; j < node_count; j++) {
        if (!(votes >> j & 1))
            continue;
        nodes[j].term = term;
        nodes[j].is_leader = false;
        nodes[j].leader = n->id;
        counts_in_quorum(&nodes[j]);
        learn_id(n, nodes[j].id);
        if (j != i)
            learn_id(&nodes[j], n->id);
    }
    n->is_leader = true;
    append(n, NOTHING);
}

static void commit(struct model_node *n)
{
    n->commit = n->size;
    for (size_t i = 0; i < n->commit; i++) {
        if (i >= committed_size)
            committed[committed_size++] = n->log[i];
        else if (committed[i].serial != n->log[i].serial)
            fail_msg("entry %zu was committed and has changed", i);
    }
}

static void replicate(int i, uint64_t reached)
{
    struct model_node *n = &nodes[i];
    struct config c;
    if (n->state != RUNNING || !n->is_leader)
        return;
    config_at(n->log, n->commit, &c);
    uint64_t acks = 1u << i;
    int count = is_voter(&c, n);
    for (int j = 0; j < node_count; j++) {
        struct model_node *f = &nodes[j];
        if (j == i || !(reached >> j & 1) || f->state != RUNNING || seat_of(&c, f->id) < 0)
            continue;
        if (f->term > n->term) {
            n->is_leader = false;
            return;
        }
        f->term = n->term;
        f->leader = n->id;
        f->is_leader = false;
        if (f->commit > n->commit)
            assert_memory_equal(f->log, n->log, f->commit * sizeof *f->log);
        memcpy(f->log, n->log, n->size * sizeof *n->log);
        f->size = n->size;
        if (n->commit > f->commit)
            f->commit = n->commit;
        learn_id(n, f->id);
        acks |= 1u << j;
        count += is_voter(&c, f);
    }
    n->matches = acks;
    if (count <= voters_of(&c) / 2)
        return;
    for (int j = 0; j < node_count; j++)
        if (acks >> j & 1 && is_voter(&c, &nodes[j]))
            counts_in_quorum(&nodes[j]);
    commit(n);
}

static bool has_change_waiting(const struct model_node *n)
{
    for (size_t i = n->commit; i < n->size; i++)
        if (n->log[i].what != NOTHING)
            return true;
    return false;
}

static void promote(int i)
{
    struct model_node *n = &nodes[i];
    struct config c;
    if (n->state != RUNNING || !n->is_leader || n->commit != n->size)
        return;
    config_at(n->log, n->commit, &c);
    for (int k = 0; k < c.count; k++) {
        const struct model_node *l = &nodes[c.members[k].node];
        if (c.members[k].is_learner && l->has_data && l->id == c.members[k].id &&
            n->matches >> c.members[k].node & 1) {
            append(n, PROMOTE)->id = c.members[k].id;
            return;
        }
    }
}

/* --- answers ---------------------------------------------------------------------------------------- */
static Peerpb__Answer *answer_of(int j, uint64_t run)
{
    struct model_node *n = &nodes[j];
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    Peerpb__ListedMember members[MEMBERS_MAX], *list[MEMBERS_MAX];
    char *seat_urls[MEMBERS_MAX];
    struct config c;
    if (n->state == BOOTING) {
        boot_rules_describe(&n->rules, &a);
    } else {
        config_at(n->log, n->commit, &c);
        a.state = seat_of(&c, n->id) < 0 && !n->is_joined ? PEERPB__ANSWER__STATE__REMOVED
                                                          : PEERPB__ANSWER__STATE__STARTED;
        a.name = names[j];
        a.cluster_id = cluster_id;
        a.member_id = n->id;
        a.leader = n->is_leader ? n->id : n->leader;
        a.term = n->term;
        a.applied_index = n->commit;
        a.is_blank = !n->is_joined && n->term <= 1 && !n->size;
        a.is_settled = !has_change_waiting(n);
        for (int k = 0; k < c.count; k++) {
            peerpb__listed_member__init(&members[k]);
            members[k].id = c.members[k].id;
            members[k].name = c.members[k].has_name ? names[c.members[k].node] : names[NODES_MAX - 1] + 3;
            members[k].is_learner = c.members[k].is_learner;
            members[k].was_started = c.members[k].has_name || knows_id(n, c.members[k].id);
            seat_urls[k] = urls[c.members[k].node];
            members[k].n_peer_urls = 1;
            members[k].peer_urls = &seat_urls[k];
            list[k] = &members[k];
        }
        a.n_members = (size_t)c.count;
        a.members = list;
    }
    a.run = run;
    struct buf b = {0};
    boot_write(&b, &a.base);
    Peerpb__Answer *copy = boot_read_answer(buf_slice(&b));
    buf_done(&b);
    return copy;
}

static int index_of_peer(int i, int j)
{
    for (size_t k = 0; k < nodes[i].rules.peer_count; k++)
        if (strcmp(nodes[i].rules.peers[k].name, names[j]) == 0)
            return (int)k;
    abort();
}

static void ask(int i, int j, bool is_lost)
{
    struct model_node *n = &nodes[i];
    if (n->state != BOOTING || i == j)
        return;
    int peer = index_of_peer(i, j);
    if (is_lost || nodes[j].state == DOWN) {
        boot_rules_answer(&n->rules, (size_t)peer, NULL);
        return;
    }
    for (int k = 0; k < late_count; k++)
        if (late[k].asker == i && late[k].peer == peer && late[k].run == n->run)
            return; /* one at a time */
    if (late_count == LATE_MAX)
        return;
    late[late_count].asker = i;
    late[late_count].peer = peer;
    late[late_count].run = n->run;
    late[late_count++].answer = answer_of(j, n->run);
}

static void deliver(int k)
{
    struct model_node *n = &nodes[late[k].asker];
    if (n->state == BOOTING)
        boot_rules_answer(&n->rules, (size_t)late[k].peer, late[k].answer);
    else
        peerpb__answer__free_unpacked(late[k].answer, NULL);
    late[k] = late[--late_count];
}

/* --- processes ------------------------------------------------------------------------------------------ */
static void start(int i, bool is_existing)
{
    struct model_node *n = &nodes[i];
    if (n->state != DOWN)
        return;
    n->is_leader = false;
    n->leader = 0;
    n->known_count = 0;
    n->asked_leader = -1;
    n->run = ++next_run;
    n->state = n->has_data ? RUNNING : BOOTING;
    struct boot_self self = {
        .run = n->run,
        .name = names[i],
        .token = "t",
        .cluster = flags,
        .cluster_count = (size_t)node_count,
        .peer_urls = &own_urls[i],
        .peer_url_count = 1,
        .is_existing = is_existing,
        .is_auto = !is_existing && !is_quorum_walk,
        .auto_join = true,
    };
    if (n->state == BOOTING)
        boot_rules_init(&n->rules, &self);
}

static void end_boot(struct model_node *n)
{
    boot_rules_done(&n->rules);
    n->asked_leader = -1;
}

static void kill_node(int i)
{
    struct model_node *n = &nodes[i];
    if (n->state == BOOTING)
        end_boot(n);
    n->state = DOWN;
    n->is_leader = false;
}

/* True if this configuration still has a quorum with its disks without node i. */
static bool can_bear(const struct config *c, int i)
{
    int left = 0;
    for (int k = 0; k < c->count; k++) {
        const struct model_node *m = &nodes[c->members[k].node];
        left += c->members[k].node != i && m->has_data && m->id == c->members[k].id && is_voter(c, m);
    }
    return left > voters_of(c) / 2;
}

/* As many disks may be lost as the members can tolerate. The committed configuration counts, and so do those
 * that some members still have or already have. There is no promise for more losses. */
static void wipe(int i)
{
    struct model_node *n = &nodes[i];
    struct config c;
    config_at(committed, committed_size, &c);
    bool is_borne = !is_quorum_walk && n->has_data && can_bear(&c, i);
    for (int j = 0; j < node_count; j++) {
        config_at(nodes[j].log, nodes[j].commit, &c);
        is_borne &= !nodes[j].has_data || j == i || can_bear(&c, i);
        config_at(nodes[j].log, nodes[j].size, &c);
        is_borne &= !nodes[j].has_data || j == i || can_bear(&c, i);
    }
    if (!is_borne)
        return;
    kill_node(i);
    n->has_data = false;
    n->size = n->commit = 0;
    seen.wiped++;
}

static void begin(int i, uint64_t id, bool is_joined)
{
    struct model_node *n = &nodes[i];
    end_boot(n);
    n->state = RUNNING;
    n->has_data = true;
    n->is_joined = is_joined;
    n->disk = ++next_disk;
    n->id = id;
    n->term = is_joined ? 0 : 1;
    n->size = n->commit = 0;
    n->run = ++next_run;
}

/* The leader executes a request: it appends an entry, or does nothing. */
static uint64_t fetch(struct model_node *l, const struct boot_decision *d)
{
    struct config c;
    config_at(l->log, l->commit, &c);
    int at = seat_of(&c, d->member_id);
    if (l->state != RUNNING || !l->is_leader || l->commit != l->size || at < 0 || l->size > LOG_MAX - 20)
        return 0;
    if (d->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM) {
        if (c.members[at].has_name || knows_id(l, d->member_id))
            return 0;
        append(l, NAME)->id = d->member_id;
        return serial;
    }
    assert_int_equal(d->kind, PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE);
    struct entry *e = append(l, REPLACE);
    e->old_id = d->member_id;
    e->id = ++next_id;
    return serial;
}

static void step(int i, bool dies)
{
    struct model_node *n = &nodes[i];
    struct boot_decision d;
    if (n->state != BOOTING || n->asked_leader >= 0)
        return;
    now_ms += draw(BOOT_QUORUM_MS / 4);
    boot_rules_decide(&n->rules, now_ms, &d);
    switch (d.step) {
    case BOOT_WAIT:
        seen.waited++;
        break;
    case BOOT_REQUEST:
        n->request = d;
        for (int j = 0; j < node_count; j++)
            if (strcmp(urls[j], d.urls[0]) == 0)
                n->asked_leader = j;
        n->asked_serial = nodes[n->asked_leader].state == RUNNING ? fetch(&nodes[n->asked_leader], &d) : 0;
        break;
    case BOOT_REFUSE: /* only when all were told to join a cluster that no member has begun */
        assert_non_null(strstr(d.text, "have --initial-cluster-state=existing"));
        kill_node(i);
        break;
    case BOOT_BOOTSTRAP:
    case BOOT_JOIN:
        if (dies) {
            kill_node(i);
            break;
        }
        *(d.step == BOOT_JOIN ? &seen.joined : &seen.begun) += 1;
        begin(i, d.member_id, d.step == BOOT_JOIN);
        break;
    }
}

/* The result of a request, when the leader has committed it; it may be lost. */
static void end_fetch(int i, bool is_lost)
{
    struct model_node *n = &nodes[i];
    if (n->state != BOOTING || n->asked_leader < 0)
        return;
    const struct model_node *l = &nodes[n->asked_leader];
    bool is_done = false;
    for (size_t k = 0; l->state == RUNNING && k < l->commit; k++)
        is_done |= n->asked_serial && l->log[k].serial == n->asked_serial;
    if (!is_done && n->asked_serial && l->state == RUNNING && l->is_leader && !is_lost)
        return; /* not yet */
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    a.run = n->run;
    a.outcome = is_done ? PEERPB__ANSWER__OUTCOME__DONE : PEERPB__ANSWER__OUTCOME__LATER;
    if (is_done)
        *(n->request.kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM ? &seen.claimed : &seen.replaced) += 1;
    boot_rules_outcome(&n->rules, &n->request, is_lost ? NULL : &a);
    n->asked_leader = -1;
}

/* --- the walk ------------------------------------------------------------------------------------------- */
static void set_up(uint64_t from)
{
    memset(nodes, 0, sizeof nodes);
    seed = from * 0x9E3779B97F4A7C15u + 1;
    node_count = 3 + (int)draw(3);
    committed_size = promised_count = 0;
    serial = next_run = 0;
    next_id = 1000;
    for (int i = 0; i < node_count; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        snprintf(urls[i], sizeof urls[i], "http%d", i);
        flags[i] = (struct kv_member_option){names[i], urls[i]};
        own_urls[i] = urls[i];
    }
    names[NODES_MAX - 1][3] = 0;
    for (int i = 0; i < node_count; i++) {
        start(i, false);
        first_ids[i] = nodes[i].rules.member_id;
        cluster_id = nodes[i].rules.cluster_id;
        kill_node(i);
    }
}

static void random_step(unsigned faults)
{
    int i = (int)draw((uint64_t)node_count), j = (int)draw((uint64_t)node_count);
    uint64_t reached = draw(3) ? ~0ull : draw(1u << NODES_MAX);
    switch (draw(14)) {
    case 0:
        if (i != absent)
            start(i, draw(8) == 0);
        break;
    case 1:
    case 2:
    case 3:
        ask(i, j, draw(100) < faults);
        break;
    case 4:
    case 5:
        if (late_count)
            deliver((int)draw((uint64_t)late_count));
        break;
    case 6:
    case 7:
        step(i, draw(200) < faults);
        break;
    case 8:
        end_fetch(i, draw(100) < faults);
        break;
    case 9:
        if (draw(3) == 0)
            campaign(i, reached);
        break;
    case 10:
    case 11:
        replicate(i, reached);
        break;
    case 12:
        if (nodes[i].state == RUNNING && nodes[i].is_leader && nodes[i].size < LOG_MAX - 20 && draw(4) == 0)
            append(&nodes[i], NOTHING);
        else
            promote(i);
        break;
    default:
        if (draw(300) < faults)
            kill_node(i);
        if (draw(300) < faults)
            wipe(i);
    }
}

static bool are_all_together(void)
{
    int leader = -1;
    for (int i = 0; i < node_count; i++)
        if (nodes[i].state == RUNNING && nodes[i].is_leader &&
            (leader < 0 || nodes[i].term > nodes[leader].term))
            leader = i;
    if (leader < 0)
        return false;
    struct config c;
    config_at(nodes[leader].log, nodes[leader].commit, &c);
    for (int i = 0; i < node_count; i++)
        if (nodes[i].state != RUNNING || !is_voter(&c, &nodes[i]) || nodes[i].size != nodes[leader].size)
            return false;
    return true;
}

static bool has_begun_without(int i)
{
    for (int j = 0; j < node_count; j++)
        if (j != i && nodes[j].has_data)
            return true;
    return false;
}

static void walk(uint64_t from, bool is_quorum)
{
    is_quorum_walk = is_quorum;
    set_up(from);
    unsigned faults = 5 + (unsigned)draw(40);
    absent = is_quorum ? (int)draw((uint64_t)node_count) : -1;
    for (int n = 0; n < 1500; n++) {
        if (n == 1000 && absent >= 0) {
            seen.begun_without += has_begun_without(absent);
            absent = -1;
        }
        random_step(faults);
    }
    /* From here on nothing is lost, and a member that was told to join may begin. */
    for (int i = 0; i < node_count; i++)
        if (nodes[i].state == BOOTING)
            kill_node(i);
    for (int n = 0; n < 60 && !are_all_together(); n++) {
        bool has_leader = false;
        for (int i = 0; i < node_count; i++) {
            start(i, false);
            for (int j = 0; j < node_count; j++)
                ask(i, j, false);
            while (late_count)
                deliver(late_count - 1);
            step(i, false);
            has_leader |= nodes[i].state == RUNNING && nodes[i].is_leader;
        }
        for (int i = 0; i < node_count; i++) {
            if (!has_leader || n % 10 == 9)
                campaign(i, ~0ull);
            replicate(i, ~0ull);
            replicate(i, ~0ull);
            promote(i);
            end_fetch(i, false);
        }
    }
    if (!are_all_together()) {
        for (int i = 0; i < node_count; i++)
            fprintf(stderr, "node %d: state %d data %d id %llx term %llu size %zu commit %zu leader %d\n", i,
                    nodes[i].state, nodes[i].has_data, (unsigned long long)nodes[i].id,
                    (unsigned long long)nodes[i].term, nodes[i].size, nodes[i].commit, nodes[i].is_leader);
        fail_msg("BOOT_SEED=%llu: the members do not join one cluster", (unsigned long long)from);
    }
    while (late_count)
        deliver(late_count - 1);
    for (int i = 0; i < node_count; i++)
        kill_node(i);
}

static void test_walks(void **state)
{
    (void)state;
    const char *one = getenv("BOOT_SEED");
    for (uint64_t n = one ? strtoull(one, NULL, 10) : 0; n < (one ? strtoull(one, NULL, 10) + 1 : 6000); n++)
        walk(n, n % 3 == 2);
    print_message("begun %u, walks in which a quorum began without a member %u, joined %u, replaced %u, "
                  "claimed %u, disks lost %u, waits %u\n",
                  seen.begun, seen.begun_without, seen.joined, seen.replaced, seen.claimed, seen.wiped,
                  seen.waited);
    /* The walks reached every rule. */
    assert_true(one ||
                (seen.begun_without > 100 && seen.joined > 100 && seen.replaced > 100 && seen.wiped > 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
