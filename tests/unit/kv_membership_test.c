/* SPDX-License-Identifier: Apache-2.0
 * Changes of members: what a request proposes or is refused with, and what an entry does to the member list
 * and to raft's configuration. The member list (node/members.c) is linked as it is; raft is a list of ids. */
#define KV_PARTS_REAL_MEMBERSHIP
#define KV_PARTS_REAL_MEMBERS
#include "kv_parts.h"

#include "consensus/node/conf_store.h"

enum { LEADER = 1, OTHER = 3, NEW = 50, LINGER_MS = 300, INTERVAL_MS = 1000 };
enum {
    ADD = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ADD,
    REMOVE = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REMOVE,
    UPDATE = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__UPDATE,
    PROMOTE = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__PROMOTE,
    REPLACE = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__REPLACE,
    ALONE = ETCDSERVERPB__MEMBERSHIP_CHANGE__KIND__ALONE,
};

/* --- raft, the store, the transport ------------------------------------------------------------------------- */

static struct {
    struct raft_conf_change change; /* the last proposal; its context is decoded */
    Etcdserverpb__MembershipChange *context;
    unsigned proposals, saved_confs, stored;
    int propose_err, apply_err;
    bool has_queued_change;
    unsigned level; /* of the cluster */
    uint64_t disconnected[4], set;
    size_t disconnected_count;
} fake;

int node_propose_conf_change(struct node *n, const struct raft_conf_change *change)
{
    (void)n;
    if (fake.propose_err)
        return fake.propose_err;
    if (fake.context)
        etcdserverpb__membership_change__free_unpacked(fake.context, NULL);
    fake.proposals++;
    fake.change = *change;
    fake.context = etcdserverpb__membership_change__unpack(NULL, change->context.size, change->context.data);
    return OK;
}

int node_apply_conf_change(struct node *n, const struct raft_conf_change *change,
                           struct raft_conf_state *ret_state)
{
    (void)n;
    if (fake.apply_err)
        return fake.apply_err;
    if (!change->count)
        parts.conf.voters_outgoing.count = 0;
    for (uint32_t i = 0; i < change->count; i++) {
        uint64_t id = change->changes[i].node_id;
        enum raft_conf_change_type type = change->changes[i].type;
        if (!id || type == RAFT_UPDATE_NODE)
            continue;
        raft_ids_remove(&parts.conf.voters, id);
        raft_ids_remove(&parts.conf.learners, id);
        if (type != RAFT_REMOVE_NODE)
            raft_ids_add(type == RAFT_ADD_NODE ? &parts.conf.voters : &parts.conf.learners, id);
    }
    *ret_state = parts.conf;
    return OK;
}

bool node_has_queued_change(const struct node *n)
{
    (void)n;
    return fake.has_queued_change;
}

void conf_store_save(struct store *s, const struct raft_conf_state *conf)
{
    (void)s;
    assert_memory_equal(conf, &parts.conf, sizeof *conf);
    fake.saved_confs++;
}

void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value)
{
    (void)s;
    (void)table;
    (void)key;
    (void)value;
    fake.stored++;
}

int store_scan(struct store *s, enum backend_table table,
               bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    (void)s;
    (void)table;
    (void)fn;
    (void)arg;
    return OK;
}

static void set_member(struct peers *p, uint64_t id, const char *const *urls, size_t count)
{
    (void)p;
    (void)urls;
    (void)count;
    fake.set = id;
}

unsigned kv_feature_level(const struct kv *kv)
{
    (void)kv;
    return fake.level;
}

void kv_disconnect_later(struct kv *kv, uint64_t id)
{
    (void)kv;
    fake.disconnected[fake.disconnected_count++] = id;
}

/* --- a member of three, of which each has one URL ------------------------------------------------------------- */

static const char *const urls[] = {"http://a:1", "http://b:1", "http://c:1", "http://new:1"};

static struct kv *start(void)
{
    members_done(&parts.kv.members);
    if (fake.context)
        etcdserverpb__membership_change__free_unpacked(fake.context, NULL);
    memset(&fake, 0, sizeof fake);
    struct kv *kv = parts_start();
    kv->members = (struct members){0};
    for (uint64_t id = 1; id <= 3; id++)
        member_set_attributes(member_set(&kv->members, id, &urls[id - 1], 1, false), "started", NULL, 0);
    parts.peer_ops.set_member = set_member;
    kv->settings.strict_reconfig = true;
    kv->settings.learners_max = 3;
    parts_set_leader(PARTS_SELF);
    parts.status.role = RAFT_LEADER;
    return kv;
}

static void set_name(struct kv *kv, uint64_t id, const char *name)
{
    member_set_attributes(member_find(&kv->members, id), name, NULL, 0);
}

static void add_learner(struct kv *kv, uint64_t match)
{
    member_set_attributes(member_set(&kv->members, NEW, &urls[3], 1, true), "learner", NULL, 0);
    member_find(&kv->members, NEW)->promotes_itself = true;
    raft_ids_add(&parts.conf.learners, NEW);
    parts.status.progress_count = 2;
    parts.status.progress[0] = (struct raft_progress_status){.id = PARTS_SELF, .match = 1000};
    parts.status.progress[1] = (struct raft_progress_status){
        .id = NEW, .match = match, .learner = true, .recent_active = true, .state = RAFT_REPLICATE};
    kv->state.commit = 1000;
}

static Etcdserverpb__MemberAddRequest new_add(char **peer_urls, size_t count, bool is_learner)
{
    Etcdserverpb__MemberAddRequest m = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    m.peerurls = peer_urls;
    m.n_peerurls = count;
    m.islearner = is_learner;
    return m;
}

static void assert_proposed(int kind, uint64_t id, enum raft_conf_change_type type)
{
    assert_non_null(fake.context);
    assert_int_equal(fake.context->kind, kind);
    assert_int_equal(fake.context->member->id, id);
    assert_int_equal(fake.change.changes[0].node_id, id);
    assert_int_equal(fake.change.changes[0].type, type);
}

/* The request with a number of this member waits for its entry. */
static void assert_waits_for_entry(unsigned n)
{
    assert_waits(n, KV_PROPOSED);
    assert_int_equal(fake.context->proposer, PARTS_SELF);
    assert_int_equal(fake.context->request, parts_request(n)->id);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static void test_add(void **state)
{
    (void)state;
    struct kv *kv = start();
    char late[] = "http://z:1", early[] = "https://d:2", *both[] = {late, early};
    Etcdserverpb__MemberAddRequest m = new_add(both, 2, true);
    kv_member_add(kv, parts_request(0), &m);
    uint64_t id = fake.context->member->id;
    assert_proposed(ADD, id, RAFT_ADD_LEARNER);
    assert_waits_for_entry(0);
    assert_string_equal(fake.context->member->peerurls[0], late); /* byte order */
    assert_int_equal(fake.context->learners_max, 4);              /* --max-learners=3 */
    m.islearner = false;
    member_remove(&kv->members, id); /* it was there and is gone: another id */
    kv_member_add(kv, parts_request(1), &m);
    assert_int_not_equal(fake.context->member->id, id);
    assert_proposed(ADD, fake.context->member->id, RAFT_ADD_NODE);
}

static void test_bad_urls(void **state)
{
    (void)state;
    struct kv *kv = start();
    static const char *const bad[] = {"a:1",       "ftp://a:1",       "http://a",
                                      "http://:1", "http://a:1/path", "http://a:"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char *one[] = {(char *)(uintptr_t)bad[i]};
        Etcdserverpb__MemberAddRequest m = new_add(one, 1, true);
        kv_member_add(kv, parts_request(0), &m);
        assert_fails(0, ERR_MEMBER_BAD_URLS);
        list_remove(&parts_request(0)->link);
    }
    Etcdserverpb__MemberAddRequest none = new_add(NULL, 0, true);
    kv_member_add(kv, parts_request(0), &none);
    kv_member_replace(kv, parts_request(1), OTHER, &none);
    assert_fails(0, ERR_MEMBER_BAD_URLS);
    assert_fails(1, ERR_MEMBER_BAD_URLS);
    Etcdserverpb__MemberUpdateRequest update = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    update.id = OTHER;
    kv_member_update(kv, parts_request(2), &update);
    assert_fails(2, ERR_MEMBER_BAD_URLS);
    update.id = NEW; /* etcd looks for the member first */
    kv_member_update(kv, parts_request(3), &update);
    assert_fails(3, ERR_MEMBER_NOT_FOUND);
    assert_int_equal(fake.proposals + parts.numbers_in_use, 0);
}

static void test_other_requests(void **state)
{
    (void)state;
    struct kv *kv = start();
    char url[] = "http://new:1", *one[] = {url};
    Etcdserverpb__MemberRemoveRequest removal = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    removal.id = OTHER;
    kv_member_remove(kv, parts_request(0), &removal);
    assert_proposed(REMOVE, OTHER, RAFT_REMOVE_NODE);
    assert_waits_for_entry(0);
    Etcdserverpb__MemberUpdateRequest update = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    update.id = OTHER;
    update.peerurls = one;
    update.n_peerurls = 1;
    kv_member_update(kv, parts_request(1), &update);
    assert_proposed(UPDATE, OTHER, RAFT_UPDATE_NODE);
    Etcdserverpb__MemberAddRequest add = new_add(one, 1, false);
    kv_member_replace(kv, parts_request(2), OTHER, &add);
    assert_proposed(REPLACE, fake.context->member->id, RAFT_ADD_LEARNER); /* always a learner at first */
    assert_int_equal(fake.context->replaces, OTHER);
    assert_int_equal(fake.change.changes[1].node_id, OTHER);
    assert_int_equal(fake.change.changes[1].type, RAFT_REMOVE_NODE);
    kv_member_replace(kv, parts_request(3), NEW, &add);
    assert_fails(3, ERR_MEMBER_NOT_FOUND);
    fake.propose_err = ERR_TOO_MANY_REQUESTS;
    size_t before = parts.numbers_in_use;
    kv_member_remove(kv, parts_request(4), &removal);
    assert_fails(4, ERR_TOO_MANY_REQUESTS);
    assert_int_equal(parts.numbers_in_use, before); /* its number is given back */
}

/* --- is the quorum safe? ----------------------------------------------------------------------------------------- */

static int try_add(struct kv *kv, bool is_learner)
{
    char url[] = "http://new:1", *one[] = {url};
    Etcdserverpb__MemberAddRequest m = new_add(one, 1, is_learner);
    struct kv_request r = {0};
    kv_member_add(kv, &r, &m);
    list_remove(&r.link);
    return r.state == KV_FAILED ? -(int)r.index : OK;
}

static int try_remove(struct kv *kv, uint64_t id)
{
    Etcdserverpb__MemberRemoveRequest m = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    struct kv_request r = {0};
    m.id = id;
    kv_member_remove(kv, &r, &m);
    list_remove(&r.link);
    return r.state == KV_FAILED ? -(int)r.index : OK;
}

static void test_quorum_of_an_addition(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(try_add(kv, false), OK);
    assert_int_equal(parts.active_since_asked, parts.now_ms - 5000);
    set_name(kv, OTHER, "");
    assert_int_equal(try_add(kv, false), ERR_MEMBER_NOT_ENOUGH_STARTED);
    assert_int_equal(try_add(kv, true), OK); /* it has no vote */
    set_name(kv, OTHER, "started");
    parts.inactive_member = OTHER;
    assert_int_equal(try_add(kv, true), ERR_UNHEALTHY);
    kv->settings.strict_reconfig = false;
    assert_int_equal(try_add(kv, false), OK);
    kv = start();
    member_remove(&kv->members, LEADER); /* a cluster of one may become two */
    member_remove(&kv->members, OTHER);
    assert_int_equal(try_add(kv, false), OK);
}

/* With --strict-reconfig-check, and without. */
static void test_quorum_of_a_removal(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(try_remove(kv, OTHER), OK);
    parts.inactive_member = OTHER;
    assert_int_equal(try_remove(kv, OTHER), OK); /* it is down: no part of the quorum */
    assert_int_equal(try_remove(kv, LEADER), ERR_UNHEALTHY);
    assert_int_equal(try_remove(kv, PARTS_SELF), ERR_UNHEALTHY);
    parts.inactive_member = 0;
    set_name(kv, OTHER, "");
    assert_int_equal(try_remove(kv, LEADER), ERR_MEMBER_NOT_ENOUGH_STARTED);
    add_learner(kv, 1000);
    assert_int_equal(try_remove(kv, NEW), OK);
    kv->settings.strict_reconfig = false;
    assert_int_equal(try_remove(kv, LEADER), OK);
}

/* --- promotion ------------------------------------------------------------------------------------------------------ */

static void promote(struct kv *kv, unsigned n)
{
    static Etcdserverpb__MemberPromoteRequest m = {
        PROTOBUF_C_MESSAGE_INIT(&etcdserverpb__member_promote_request__descriptor), .id = NEW};
    kv_member_promote(kv, parts_request(n), &m);
}

static void test_promote(void **state)
{
    (void)state;
    struct kv *kv = start();
    add_learner(kv, 899);
    promote(kv, 0);
    assert_fails(0, ERR_LEARNER_NOT_READY);
    parts.status.progress[1].match = 900;
    promote(kv, 1);
    assert_proposed(PROMOTE, NEW, RAFT_ADD_NODE);
    assert_waits_for_entry(1);
    set_name(kv, LEADER, "");
    set_name(kv, OTHER, "");
    promote(kv, 2);
    assert_fails(2, ERR_MEMBER_NOT_ENOUGH_STARTED);
    parts.status.progress_count = 1;
    promote(kv, 3);
    assert_fails(3, ERR_MEMBER_NOT_FOUND);
}

/* Only the leader knows how far a learner is. A call of another member is not passed on again. */
static void test_promote_elsewhere(void **state)
{
    (void)state;
    struct kv *kv = start();
    add_learner(kv, 1000);
    parts.status.role = RAFT_FOLLOWER;
    promote(kv, 0);
    assert_waits(0, KV_CALL_QUEUED);
    parts.is_from_member = true;
    promote(kv, 1);
    assert_fails(1, ERR_NOT_LEADER);
    parts.is_from_member = false;
    kv->peers = NULL;
    promote(kv, 2);
    assert_fails(2, ERR_NOT_LEADER);
}

static struct kv *start_promoting(void)
{
    struct kv *kv = start();
    kv->settings.promotes_learners = true;
    add_learner(kv, 500); /* 500 entries behind */
    return kv;
}

static void test_promoted_by_itself(void **state)
{
    (void)state;
    struct kv *kv = start_promoting();
    kv_promote_learners(kv);
    assert_proposed(PROMOTE, NEW, RAFT_ADD_NODE);
    assert_int_equal(fake.context->request, 0); /* nobody waits */
    parts.now_ms += INTERVAL_MS - 1;
    kv_promote_learners(kv);
    assert_int_equal(fake.proposals, 1);
    parts.now_ms += 1; /* it may be lost */
    kv_promote_learners(kv);
    assert_int_equal(fake.proposals, 2);
}

static void test_not_promoted_by_itself(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        struct kv *kv = start_promoting();
        if (i == 0)
            kv->settings.promotes_learners = false;
        if (i == 1)
            parts_set_leader(LEADER);
        if (i == 2)
            fake.has_queued_change = true;
        if (i == 3)
            parts.status.progress[1].match = 499;
        if (i == 4)
            parts.status.progress[1].recent_active = false;
        if (i == 5)
            parts.status.progress[1].state = RAFT_PROBE;
        if (i == 6)
            set_name(kv, NEW, ""); /* it has not started */
        if (i == 7)
            parts.conf.learners.count = 0;
        if (i == 8) {
            set_name(kv, LEADER, "");
            set_name(kv, OTHER, ""); /* the new quorum would not be safe */
        }
        if (i == 9)
            member_find(&kv->members, NEW)->promotes_itself = false; /* of `member add --learner` */
        kv_promote_learners(kv);
        assert_int_equal(fake.proposals, 0);
    }
}

/* --- entries ----------------------------------------------------------------------------------------------------------- */

struct change {
    int kind;
    uint64_t id;
    const char *url; /* NULL = none */
    bool is_learner;
    uint64_t replaces;
    unsigned learners_max; /* as in the entry: one more; 0 = none */
};

static struct raft_conf_change_single raft_part(const struct change *c)
{
    enum raft_conf_change_type type = c->kind == REMOVE                       ? RAFT_REMOVE_NODE
                                      : c->kind == UPDATE || c->kind == ALONE ? RAFT_UPDATE_NODE
                                      : c->is_learner                         ? RAFT_ADD_LEARNER
                                                                              : RAFT_ADD_NODE;
    return (struct raft_conf_change_single){type, c->id};
}

/* The entry of a change, as request 1 of this member. */
static struct raft_entry new_entry(const struct change *c)
{
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    Etcdserverpb__MembershipChange m = ETCDSERVERPB__MEMBERSHIP_CHANGE__INIT;
    char *one[] = {(char *)(uintptr_t)c->url};
    uint8_t bytes[200];
    member.id = c->id;
    member.islearner = c->is_learner;
    member.peerurls = one;
    member.n_peerurls = c->url != NULL;
    m.kind = (Etcdserverpb__MembershipChange__Kind)c->kind;
    m.member = &member;
    m.replaces = c->replaces;
    m.learners_max = c->learners_max;
    m.proposer = PARTS_SELF;
    m.request = 1;
    struct raft_conf_change change = {.count = 1, .changes = {raft_part(c)}};
    if (c->kind == REPLACE)
        change.changes[change.count++] = (struct raft_conf_change_single){RAFT_REMOVE_NODE, c->replaces};
    change.context = slice_of(bytes, etcdserverpb__membership_change__pack(&m, bytes));
    return (struct raft_entry){
        .index = 9, .type = RAFT_ENTRY_CONF_CHANGE_V2, .data = raft_conf_change_encode(&change, false)};
}

static int apply(struct kv *kv, struct change c)
{
    struct raft_entry e = new_entry(&c);
    int err = kv_apply_membership(kv, &e);
    blob_unref(e.data);
    return err;
}

/* Voters and learners of raft are those of the list. */
static void assert_same_members(const struct kv *kv, size_t count)
{
    assert_int_equal(kv->members.count, count);
    assert_int_equal(parts.conf.voters.count + parts.conf.learners.count, count);
    for (size_t i = 0; i < kv->members.count; i++) {
        const struct member *m = &kv->members.list[i];
        assert_true(raft_ids_has(m->is_learner ? &parts.conf.learners : &parts.conf.voters, m->id));
    }
}

static void test_apply(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(apply(kv, (struct change){ADD, NEW, "http://d:1", true, 0, 0}), OK);
    assert_same_members(kv, 4);
    assert_int_equal(fake.set, NEW);
    assert_int_equal(fake.stored, 1);
    assert_int_equal(apply(kv, (struct change){UPDATE, NEW, "http://e:1", false, 0, 0}), OK);
    assert_string_equal(member_find(&kv->members, NEW)->peer_urls[0], "http://e:1");
    assert_same_members(kv, 4); /* still a learner */
    assert_int_equal(apply(kv, (struct change){PROMOTE, NEW, NULL, false, 0, 0}), OK);
    assert_same_members(kv, 4);
    assert_int_equal(parts.conf.voters.count, 4);
    assert_int_equal(apply(kv, (struct change){REMOVE, OTHER, NULL, false, 0, 0}), OK);
    assert_same_members(kv, 3);
    assert_int_equal(fake.disconnected[0], OTHER);
    assert_true(member_is_removed(&kv->members, OTHER));
    /* The new member has the URL of the one that it replaces. */
    assert_int_equal(apply(kv, (struct change){REPLACE, NEW + 1, "http://a:1", true, LEADER, 0}), OK);
    assert_same_members(kv, 3);
    assert_int_equal(fake.disconnected[1], LEADER);
    /* A voter may come beside a learner. */
    assert_int_equal(apply(kv, (struct change){ADD, NEW + 2, "http://f:1", false, 0, 0}), OK);
    assert_same_members(kv, 4);
    assert_int_equal(fake.saved_confs, 6);
}

/* --max-learners of the proposer, once all members understand it. */
static void test_apply_counts_learners(void **state)
{
    (void)state;
    static const struct {
        unsigned level, learners_max;
        int err;
    } rows[] = {
        {FEATURE_LEVEL_LEARNERS, 0, ERR_TOO_MANY_LEARNERS},
        {FEATURE_LEVEL_LEARNERS, 2, ERR_TOO_MANY_LEARNERS},
        {FEATURE_LEVEL_LEARNERS, 3, OK},
        {FEATURE_LEVEL_LEARNERS - 1, 3, ERR_TOO_MANY_LEARNERS}, /* an older member does not read the number */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct kv *kv = start();
        fake.level = rows[i].level;
        member_set(&kv->members, NEW + 1, &urls[3], 1, true);
        raft_ids_add(&parts.conf.learners, NEW + 1);
        assert_int_equal(apply(kv, (struct change){ADD, NEW, "http://d:1", true, 0, rows[i].learners_max}),
                         rows[i].err);
        assert_same_members(kv, rows[i].err ? 4 : 5);
    }
    struct kv *kv = start();
    fake.level = FEATURE_LEVEL_LEARNERS;
    assert_int_equal(apply(kv, (struct change){ADD, NEW, "http://d:1", true, 0, 1}), ERR_TOO_MANY_LEARNERS);
    assert_int_equal(apply(kv, (struct change){ADD, NEW, "http://d:1", false, 0, 1}), OK); /* a voter */
    /* The learner that leaves makes room. */
    kv = start();
    fake.level = FEATURE_LEVEL_LEARNERS;
    member_set(&kv->members, NEW + 1, &urls[3], 1, true);
    raft_ids_add(&parts.conf.learners, NEW + 1);
    assert_int_equal(apply(kv, (struct change){REPLACE, NEW, "http://d:1", true, NEW + 1, 2}), OK);
}

/* Refused on all members alike: neither the list nor raft moves, but the entry's place is saved. */
static void test_apply_refuses(void **state)
{
    (void)state;
    static const struct {
        struct change change;
        int err;
    } rows[] = {
        {{ADD, OTHER, "http://new:1", false, 0, 0}, ERR_MEMBER_EXISTS},
        {{ADD, NEW, "http://c:1", false, 0, 0}, ERR_PEER_URL_EXISTS},
        {{ADD, NEW, "http://new:2", true, 0, 0}, ERR_TOO_MANY_LEARNERS},
        {{ADD, NEW + 9, "http://new:2", false, 0, 0}, ERR_MEMBER_NOT_FOUND}, /* a removed id */
        {{REPLACE, NEW, "http://new:2", true, 99, 0}, ERR_MEMBER_NOT_FOUND},
        {{REPLACE, NEW, "http://a:1", true, OTHER, 0}, ERR_PEER_URL_EXISTS},
        {{UPDATE, NEW, "http://new:2", false, 0, 0}, ERR_MEMBER_NOT_FOUND},
        {{UPDATE, OTHER, "http://a:1", false, 0, 0}, ERR_PEER_URL_EXISTS},
        {{PROMOTE, OTHER, NULL, false, 0, 0}, ERR_MEMBER_NOT_LEARNER},
        {{PROMOTE, NEW, NULL, false, 0, 0}, ERR_MEMBER_NOT_FOUND},
        {{REMOVE, NEW, NULL, false, 0, 0}, ERR_MEMBER_NOT_FOUND},
        {{ALONE, NEW, NULL, false, 0, 0}, ERR_MEMBER_NOT_FOUND},
        {{77, OTHER, NULL, false, 0, 0}, ERR_MALFORMED}, /* of a later version */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct kv *kv = start();
        member_set(&kv->members, NEW + 1, &urls[3], 1, true);
        raft_ids_add(&parts.conf.learners, NEW + 1);
        member_remove(&kv->members, NEW + 9);
        assert_int_equal(apply(kv, rows[i].change), rows[i].err);
        assert_same_members(kv, 4);
        assert_int_equal(fake.saved_confs, 1);
        assert_int_equal(fake.stored + fake.disconnected_count, 0);
    }
}

static void test_entries_that_do_not_decode(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct raft_entry e = {.type = RAFT_ENTRY_CONF_CHANGE_V2, .data = blob_copy(slice_text("\xff\xff"))};
    assert_int_equal(kv_apply_membership(kv, &e), ERR_MALFORMED);
    blob_unref(e.data);
    struct raft_conf_change change = {.count = 1, .changes = {{RAFT_REMOVE_NODE, OTHER}}};
    e.data = raft_conf_change_encode(&change, false); /* without what it means for the list */
    assert_int_equal(kv_apply_membership(kv, &e), ERR_MALFORMED);
    blob_unref(e.data);
    assert_same_members(kv, 3);
    e.data = NULL; /* a joint configuration is left: no change of members */
    assert_int_equal(kv_apply_membership(kv, &e), OK);
    assert_same_members(kv, 3);
}

/* Raft refuses what the list allows: nothing changes. */
static void test_raft_refuses(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.apply_err = ERR_LIMIT;
    assert_int_equal(apply(kv, (struct change){ADD, NEW, "http://d:1", true, 0, 0}), ERR_LIMIT);
    fake.apply_err = ERR_INVALID;
    assert_int_equal(apply(kv, (struct change){REMOVE, OTHER, NULL, false, 0, 0}),
                     ERR_MEMBER_NOT_ENOUGH_STARTED);
    assert_int_equal(kv->members.count, 3);
    assert_int_equal(fake.saved_confs, 0);
}

/* --- this member is removed -------------------------------------------------------------------------------------------- */

static void test_removed_itself(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_false(kv_is_removed(kv));
    assert_int_equal(apply(kv, (struct change){REMOVE, PARTS_SELF, NULL, false, 0, 0}), OK);
    assert_int_equal(kv_removed_ms(kv), parts.now_ms);
    assert_int_equal(fake.disconnected_count, 0);
    parts.now_ms += LINGER_MS - 1; /* the others hear of it first */
    assert_false(kv_note_removed(kv));
    assert_false(kv_is_removed(kv));
    parts.now_ms += 1;
    assert_true(kv_is_removed(kv));
}

/* --- force_new_cluster --------------------------------------------------------------------------------------------------- */

/* Until only this member is left, other changes in the log have no effect on raft. */
static void test_alone(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_propose_alone(kv);
    assert_int_equal(fake.proposals, 0);
    kv_force_alone(kv);
    kv_propose_alone(kv);
    assert_proposed(ALONE, PARTS_SELF, RAFT_UPDATE_NODE);
    (void)apply(kv, (struct change){ADD, NEW, "http://d:1", false, 0, 0});
    assert_false(raft_ids_has(&parts.conf.voters, NEW));
    parts.conf.voters_outgoing = (struct raft_ids){.count = 1, .id = {OTHER}};
    raft_ids_add(&parts.conf.learners, 60);
    assert_int_equal(apply(kv, (struct change){ALONE, PARTS_SELF, NULL, false, 0, 0}), OK);
    assert_same_members(kv, 1);
    assert_int_equal(parts.conf.voters_outgoing.count, 0);
    assert_int_equal(kv->members.list[0].id, PARTS_SELF);
    kv_propose_alone(kv);
    assert_int_equal(fake.proposals, 1); /* done */
}

/* --- answers ----------------------------------------------------------------------------------------------------------------- */

static void wait_as(struct kv *kv, unsigned n, enum kv_kind kind)
{
    parts.last_number = 0;
    kv_assign_proposal_id(kv, parts_request(n));
    parts_request(n)->kind = kind;
    kv_wait_for_entry(kv, parts_request(n));
}

static void answer(struct kv *kv, struct change c, int err)
{
    struct raft_entry e = new_entry(&c);
    kv_answer_membership(kv, &e, err);
    blob_unref(e.data);
}

static void test_answers(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct change add = {ADD, NEW, "http://d:1", true, 0, 0};
    answer(kv, add, OK); /* of a request that was canceled */
    wait_as(kv, 0, KV_MEMBER_ADD);
    answer(kv, add, OK);
    assert_answered(0, OK);
    const Etcdserverpb__MemberAddResponse *added = (void *)parts.callers[0].response;
    assert_int_equal(added->member->id, NEW);
    assert_int_equal(added->n_members, 3);
    assert_int_equal(added->header->revision, 0); /* etcd's own habit */
    wait_as(kv, 1, KV_MEMBER_REMOVE);
    answer(kv, add, ERR_MEMBER_NOT_FOUND);
    assert_answered(1, ERR_MEMBER_NOT_FOUND);
    static const enum kv_kind kinds[] = {KV_MEMBER_REMOVE, KV_MEMBER_UPDATE, KV_MEMBER_PROMOTE};
    const ProtobufCMessageDescriptor *responses[] = {&etcdserverpb__member_remove_response__descriptor,
                                                     &etcdserverpb__member_update_response__descriptor,
                                                     &etcdserverpb__member_promote_response__descriptor};
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        wait_as(kv, 2 + i, kinds[i]);
        answer(kv, add, OK);
        assert_answered(2 + i, OK);
        assert_ptr_equal(parts.callers[2 + i].response->descriptor, responses[i]);
    }
}

static void test_proposer(void **state)
{
    (void)state;
    uint64_t member = 5, number = 6;
    struct raft_entry e = new_entry(&(struct change){REMOVE, OTHER, NULL, false, 0, 0});
    kv_change_proposer(&e, &member, &number);
    assert_int_equal(member, PARTS_SELF);
    assert_int_equal(number, 1);
    blob_unref(e.data);
    e.data = NULL; /* it does not say: both stay */
    kv_change_proposer(&e, &member, &number);
    assert_int_equal(member, PARTS_SELF);
    (void)start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_other_requests),
        cmocka_unit_test(test_quorum_of_an_addition),
        cmocka_unit_test(test_quorum_of_a_removal),
        cmocka_unit_test(test_promote),
        cmocka_unit_test(test_promote_elsewhere),
        cmocka_unit_test(test_promoted_by_itself),
        cmocka_unit_test(test_not_promoted_by_itself),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_apply_counts_learners),
        cmocka_unit_test(test_apply_refuses),
        cmocka_unit_test(test_entries_that_do_not_decode),
        cmocka_unit_test(test_raft_refuses),
        cmocka_unit_test(test_removed_itself),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_proposer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
