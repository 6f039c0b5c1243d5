/* SPDX-License-Identifier: Apache-2.0
 * Answers to processes that start: what a member tells about its cluster, and which requests a leader grants,
 * after which proof. The transport records the answers; writes and changes of members end when the test says
 * so. kv_boot_test has it with a whole member. */
#define KV_PARTS_REAL_BOOTSTRAP
#include "kv_parts.h"

#include "consensus/node/boot_message.h"

enum { RUN = 1234, QUERIES = 6 };
enum {
    CLAIM = PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM,
    REPLACE = PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE,
    ADD = PEERPB__BOOTSTRAP_QUERY__KIND__ADD,
};

/* --- the transport ------------------------------------------------------------------------------------------ */

static struct {
    Peerpb__Answer *answers[QUERIES]; /* NULL = not answered */
    void (*confirmed)(void *arg, bool is_confirmed);
    void *confirm_arg;
    unsigned confirms, own_queries;
    const char *confirm_url;
    char queries[QUERIES]; /* whose addresses stand for queries */
} transport;

static struct peer_served_query *query_of(unsigned n)
{
    return (void *)&transport.queries[n];
}

static void answer(struct peers *p, struct peer_served_query *query, struct slice text)
{
    (void)p;
    size_t n = (size_t)((char *)query - transport.queries);
    assert_null(transport.answers[n]); /* once */
    transport.answers[n] = boot_read_answer(text);
    assert_non_null(transport.answers[n]);
}

static void confirm(struct peers *p, struct peer_served_query *query, const char *const *urls, size_t count,
                    void (*done)(void *arg, bool is_confirmed), void *arg)
{
    (void)p;
    (void)query;
    assert_int_equal(count, 1);
    transport.confirm_url = urls[0];
    transport.confirmed = done;
    transport.confirm_arg = arg;
    transport.confirms++;
}

static void on_own_query(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                         struct slice text)
{
    (void)arg;
    (void)question;
    (void)asker;
    (void)text;
    transport.own_queries++;
}

/* --- the other parts ------------------------------------------------------------------------------------------ */

static struct {
    struct kv_request *request; /* the change that is under way */
    uint64_t replaced;
    unsigned adds, replaces;
    const char *refusal; /* of kv_feature_refusal */
} fake;

static void note_change(struct kv_request *r, const Etcdserverpb__MemberAddRequest *m)
{
    assert_true(m->islearner);
    assert_string_equal(m->peerurls[0], "http://c:1");
    fake.request = r;
}

void kv_member_add_joining(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m)
{
    (void)kv;
    fake.adds++;
    note_change(r, m);
}

void kv_member_replace(struct kv *kv, struct kv_request *r, uint64_t old_id,
                       const Etcdserverpb__MemberAddRequest *m)
{
    (void)kv;
    fake.replaces++;
    fake.replaced = old_id;
    note_change(r, m);
}

const char *kv_feature_refusal(struct kv *kv, unsigned level)
{
    (void)kv;
    (void)level;
    return fake.refusal;
}

/* --- a leader of three members; the third has not been started ------------------------------------------------- */

static char no_name[] = "", url_a[] = "http://a:1", url_b[] = "http://b:1", url_c[] = "http://c:1";
static char *urls[3][1] = {{url_a}, {url_b}, {url_c}};

static struct kv *start(void)
{
    for (unsigned n = 0; n < QUERIES; n++)
        if (transport.answers[n])
            peerpb__answer__free_unpacked(transport.answers[n], NULL);
    struct kv *kv = parts_start();
    memset(&transport, 0, sizeof transport);
    memset(&fake, 0, sizeof fake);
    parts.peer_ops.answer = answer;
    parts.peer_ops.confirm = confirm;
    parts.applied_index = 40;
    kv->state.last_index = 40;
    kv->state.term = 5;
    parts_set_leader(PARTS_SELF);
    for (size_t i = 0; i < 3; i++) {
        parts.members[i].peer_urls = urls[i];
        parts.members[i].peer_url_count = 1;
    }
    parts.members[2].name = no_name;
    parts.inactive_member = 3;
    kv_bootstrap_init(&kv->bootstrap);
    return kv;
}

static Peerpb__BootstrapQuery new_question(int kind, uint64_t member)
{
    Peerpb__BootstrapQuery q = PEERPB__BOOTSTRAP_QUERY__INIT;
    static char name[] = "c";
    q.kind = (Peerpb__BootstrapQuery__Kind)kind;
    q.run = RUN;
    q.name = name;
    q.cluster_id = PARTS_CLUSTER;
    q.member_id = member;
    q.peer_urls = urls[2];
    q.n_peer_urls = 1;
    return q;
}

static void send(struct kv *kv, unsigned n, const Peerpb__BootstrapQuery *q, enum peer_proof proof)
{
    struct peer_query_sender sender = {.proof = proof, .urls = slice_text("http://x:1,http://c:1")};
    struct buf text = {0};
    boot_write(&text, &q->base);
    kv_dispatch_query(kv, query_of(n), &sender, buf_slice(&text));
    buf_done(&text);
}

static void ask(struct kv *kv, unsigned n, int kind, uint64_t member, enum peer_proof proof)
{
    Peerpb__BootstrapQuery q = new_question(kind, member);
    send(kv, n, &q, proof);
}

static const Peerpb__Answer *answer_to(unsigned n)
{
    assert_non_null(transport.answers[n]);
    return transport.answers[n];
}

static void assert_outcome(unsigned n, Peerpb__Answer__Outcome outcome, const char *reason)
{
    assert_int_equal(answer_to(n)->outcome, outcome);
    assert_int_equal(answer_to(n)->run, RUN);
    assert_non_null(strstr(answer_to(n)->reason, reason));
}

static void assert_later(unsigned n, const char *reason)
{
    assert_outcome(n, PEERPB__ANSWER__OUTCOME__LATER, reason);
}

static void assert_done(unsigned n)
{
    assert_outcome(n, PEERPB__ANSWER__OUTCOME__DONE, "");
}

/* The member's change, or the entry with its name, ends. */
static void end_request(struct kv_request *r, int err)
{
    assert_non_null(r);
    r->done(r, err, NULL);
}

/* --- which cluster is here ---------------------------------------------------------------------------------- */

static void test_who(void **state)
{
    (void)state;
    struct kv *kv = start();
    static char own_name[] = "b";
    kv->settings.name = own_name;
    ask(kv, 0, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    const Peerpb__Answer *a = answer_to(0);
    assert_int_equal(a->run, RUN);
    assert_int_equal(a->state, PEERPB__ANSWER__STATE__STARTED);
    assert_int_equal(a->cluster_id, PARTS_CLUSTER);
    assert_int_equal(a->member_id, PARTS_SELF);
    assert_int_equal(a->leader, PARTS_SELF);
    assert_int_equal(a->applied_index, 40);
    assert_string_equal(a->name, "b");
    assert_string_equal(a->peer_urls[0], "http://b:1");
    assert_true(a->is_settled && !a->is_blank);
    assert_int_equal(a->n_members, 3);
    assert_true(a->members[0]->was_started && a->members[1]->was_started);
    assert_false(a->members[2]->was_started);
    parts.members[2].was_heard = true; /* it has no name yet, but runs */
    parts.has_change_waiting = true;
    kv->state.last_index = kv->state.term = 1;
    ask(kv, 1, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    assert_true(answer_to(1)->members[2]->was_started);
    assert_true(answer_to(1)->is_blank && !answer_to(1)->is_settled);
}

static void test_who_of_a_member_without_a_state(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts.applied_index = 0; /* it joins, the snapshot is on its way */
    ask(kv, 0, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    assert_int_equal(answer_to(0)->state, PEERPB__ANSWER__STATE__UNKNOWN);
    parts.applied_index = 40;
    kv->members.count = 1; /* it is not in its own list */
    ask(kv, 1, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    assert_int_equal(answer_to(1)->state, PEERPB__ANSWER__STATE__REMOVED);
    kv->members.count = 3;
    parts.removed_ms = 1;
    ask(kv, 2, CLAIM, 3, PEER_PROOF_TOKEN); /* whatever is asked */
    assert_int_equal(answer_to(2)->state, PEERPB__ANSWER__STATE__REMOVED);
    assert_int_equal(answer_to(2)->outcome, PEERPB__ANSWER__OUTCOME__NOT_ASKED);
}

static void test_who_needs_a_proof(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv->settings.requires_peer_proof = true;
    ask(kv, 0, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    assert_outcome(0, PEERPB__ANSWER__OUTCOME__REFUSED, "--require-peer-proof");
    assert_int_equal(answer_to(0)->n_members, 0);
    ask(kv, 1, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_TOKEN);
    assert_int_equal(answer_to(1)->n_members, 3);
}

static void test_no_message(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct peer_query_sender sender = {.proof = PEER_PROOF_CERTIFICATE};
    kv_dispatch_query(kv, query_of(0), &sender, slice_text("\xff\xff\xff"));
    assert_int_equal(answer_to(0)->run, 0);
    assert_int_equal(answer_to(0)->state, PEERPB__ANSWER__STATE__STARTED);
}

static void test_own_function_for_queries(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_on_query(kv, on_own_query, NULL);
    ask(kv, 0, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    assert_int_equal(transport.own_queries, 1);
    assert_null(transport.answers[0]);
    parts.is_closing = true; /* its owner may be gone */
    ask(kv, 0, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE);
    assert_int_equal(answer_to(0)->state, PEERPB__ANSWER__STATE__STARTED);
}

/* --- CLAIM ---------------------------------------------------------------------------------------------------- */

static void test_claim(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0, CLAIM, 3, PEER_PROOF_TOKEN);
    const Etcdserverpb__ClusterMemberAttrSetRequest *m = parts_proposed(0, ENTRY_MEMBER_ATTRIBUTES);
    assert_int_equal(m->member_id, 3);
    assert_string_equal(m->member_attributes->name, "c");
    assert_null(transport.answers[0]);
    end_request(parts.write, OK);
    assert_done(0);
    kv = start();
    ask(kv, 0, CLAIM, 3, PEER_PROOF_TOKEN);
    end_request(parts.write, ERR_TIMEOUT);
    assert_later(0, "timed out");
    ask(kv, 1, CLAIM, 3, PEER_PROOF_TOKEN); /* the failed one holds up nothing */
    assert_int_equal(parts.writes, 2);
    end_request(parts.write, OK);
    assert_done(1);
}

/* One at a time, and for one run of one process. */
static void test_claimed_once(void **state)
{
    (void)state;
    struct kv *kv = start();
    static char name[] = "c";
    Peerpb__BootstrapQuery other = new_question(CLAIM, 3);
    other.run = RUN + 1;
    ask(kv, 0, CLAIM, 3, PEER_PROOF_TOKEN);
    ask(kv, 1, CLAIM, 3, PEER_PROOF_TOKEN);
    assert_later(1, "another claim is under way");
    parts.members[2].name = name; /* the entry is applied */
    end_request(parts.write, OK);
    ask(kv, 2, CLAIM, 3, PEER_PROOF_TOKEN); /* the answer was lost: the same run gets it again */
    assert_done(2);
    send(kv, 3, &other, PEER_PROOF_TOKEN);
    assert_int_equal(answer_to(3)->outcome, PEERPB__ANSWER__OUTCOME__LATER);
    assert_non_null(strstr(answer_to(3)->reason, "has been started before"));
    parts.members[2].was_heard = true; /* it ran; what asks now has lost its disk */
    ask(kv, 4, CLAIM, 3, PEER_PROOF_TOKEN);
    assert_later(4, "has been started before");
    assert_int_equal(parts.writes, 1);
}

/* --- the dial-back -------------------------------------------------------------------------------------------- */

static void test_dial_back(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0, CLAIM, 3, PEER_PROOF_NONE);
    assert_int_equal(transport.confirms, 1);
    assert_string_equal(transport.confirm_url, "http://c:1"); /* the recorded one */
    assert_int_equal(parts.writes, 0);
    transport.confirmed(transport.confirm_arg, true);
    assert_int_equal(parts.writes, 1);
    assert_int_equal(parts.turns, 1);
    end_request(parts.write, OK);
    assert_done(0);
    kv = start();
    ask(kv, 0, REPLACE, 3, PEER_PROOF_NONE);
    transport.confirmed(transport.confirm_arg, false);
    assert_later(0, "no process at the peer URL");
    assert_int_equal(fake.replaces, 0);
}

/* Time has passed: all is checked again. */
static void test_dial_back_and_then_another_leader(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0, CLAIM, 3, PEER_PROOF_NONE);
    parts_set_leader(1);
    transport.confirmed(transport.confirm_arg, true);
    assert_later(0, "does not lead");
    kv = start();
    ask(kv, 0, REPLACE, 3, PEER_PROOF_NONE);
    parts.inactive_member = 0; /* the member has come back */
    transport.confirmed(transport.confirm_arg, true);
    assert_later(0, "still connected");
    assert_int_equal(parts.writes + fake.replaces, 0);
}

static void test_close(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0, CLAIM, 3, PEER_PROOF_NONE);
    ask(kv, 1, REPLACE, 3, PEER_PROOF_NONE);
    kv_bootstrap_close(kv);
    assert_later(0, "stopping");
    assert_later(1, "stopping");
}

/* --- REPLACE and ADD ---------------------------------------------------------------------------------------------- */

static void test_replace(void **state)
{
    (void)state;
    struct kv *kv = start();
    static char name[] = "c";
    parts.members[2].name = name; /* it has run, and its disk is lost */
    parts.members[2].was_heard = true;
    ask(kv, 0, REPLACE, 3, PEER_PROOF_TOKEN);
    assert_int_equal(fake.replaced, 3);
    end_request(fake.request, ERR_UNHEALTHY);
    assert_later(0, "unhealthy");
}

static void test_add(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0, ADD, 0, PEER_PROOF_NONE);
    assert_outcome(0, PEERPB__ANSWER__OUTCOME__REFUSED, "member add"); /* asking again would not help */
    ask(kv, 1, ADD, 0, PEER_PROOF_TOKEN);
    end_request(fake.request, OK);
    assert_done(1);
    ask(kv, 2, ADD, 0, PEER_PROOF_CERTIFICATE);
    end_request(fake.request, OK);
    assert_int_equal(fake.adds, 2);
    kv->settings.requires_peer_proof = true;
    ask(kv, 3, ADD, 0, PEER_PROOF_NONE);
    assert_outcome(3, PEERPB__ANSWER__OUTCOME__REFUSED, "--require-peer-proof");
    ask(kv, 4, CLAIM, 3, PEER_PROOF_NONE); /* no dial-back then; a token may come */
    assert_later(4, "--require-peer-proof");
    assert_int_equal(transport.confirms, 0);
}

/* A certificate proves nothing about another member's URLs. */
static void test_certificate_of_another(void **state)
{
    (void)state;
    struct kv *kv = start();
    char *both[] = {url_c, url_a};
    Peerpb__BootstrapQuery q = new_question(ADD, 0);
    q.peer_urls = both;
    q.n_peer_urls = 2;
    send(kv, 0, &q, PEER_PROOF_CERTIFICATE);
    assert_outcome(0, PEERPB__ANSWER__OUTCOME__REFUSED, "member add");
    assert_int_equal(fake.adds, 0);
}

/* A kind of a later version is not done as another one, whatever its proof. */
static void test_unknown_kind(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0, 77, 3, PEER_PROOF_TOKEN);
    ask(kv, 1, 77, 3, PEER_PROOF_NONE);
    assert_int_equal(fake.replaces + fake.adds + parts.writes + transport.confirms, 0);
    assert_later(0, "does not know this request");
    assert_later(1, "does not know this request");
}

static void test_refusals(void **state)
{
    (void)state;
    struct kv *kv = start();
    Peerpb__BootstrapQuery q = new_question(CLAIM, 3);
    q.cluster_id++;
    send(kv, 0, &q, PEER_PROOF_TOKEN);
    assert_later(0, "another cluster");
    ask(kv, 1, CLAIM, 99, PEER_PROOF_TOKEN);
    assert_later(1, "no such member");
    ask(kv, 2, CLAIM, 1, PEER_PROOF_TOKEN); /* at its URLs is another one */
    assert_later(2, "no such member");
    parts.inactive_member = 0;
    ask(kv, 3, CLAIM, 3, PEER_PROOF_TOKEN);
    assert_later(3, "started twice");
    parts_set_leader(1);
    ask(kv, 4, ADD, 0, PEER_PROOF_TOKEN);
    assert_later(4, "does not lead");
    assert_int_equal(parts.writes + fake.adds, 0);
}

static void test_too_old(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.refusal = "start a newer version";
    ask(kv, 0, CLAIM, 3, PEER_PROOF_TOKEN);
    assert_outcome(0, PEERPB__ANSWER__OUTCOME__REFUSED, "start a newer version");
    ask(kv, 1, PEERPB__BOOTSTRAP_QUERY__KIND__WHO, 0, PEER_PROOF_NONE); /* it may look */
    assert_int_equal(answer_to(1)->state, PEERPB__ANSWER__STATE__STARTED);
    (void)start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who),
        cmocka_unit_test(test_who_of_a_member_without_a_state),
        cmocka_unit_test(test_who_needs_a_proof),
        cmocka_unit_test(test_no_message),
        cmocka_unit_test(test_own_function_for_queries),
        cmocka_unit_test(test_claim),
        cmocka_unit_test(test_claimed_once),
        cmocka_unit_test(test_dial_back),
        cmocka_unit_test(test_dial_back_and_then_another_leader),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_certificate_of_another),
        cmocka_unit_test(test_unknown_kind),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
