/* SPDX-License-Identifier: Apache-2.0
 * Members that known members list: whom a round asks, which answers count, and what goes to the transport. */
#define KV_PARTS_REAL_PEER_LISTING
#include "kv_parts.h"

#include "consensus/node/boot_message.h"

enum { ROUND_MS = 2000, UNKNOWN = 9 };

static struct {
    unsigned queries, cancels, vouched;
    const char *urls[4]; /* of the last queries */
    void (*done[4])(void *arg, int err, struct slice answer);
    void *args[4];
    uint64_t run; /* of the last query */
    uint64_t vouched_id;
    char vouched_url[32];
    uint64_t canceled;
} fake;

static uint64_t query(struct peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                      void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    (void)p;
    assert_int_equal(timeout_ms, 2000);
    assert_true(fake.queries < COUNT_OF(fake.urls));
    Peerpb__BootstrapQuery *q = boot_read_query(text);
    assert_int_equal(q->kind, PEERPB__BOOTSTRAP_QUERY__KIND__WHO);
    fake.run = q->run;
    peerpb__bootstrap_query__free_unpacked(q, NULL);
    fake.urls[fake.queries] = url;
    fake.done[fake.queries] = done;
    fake.args[fake.queries] = arg;
    return 100 + fake.queries++;
}

static void cancel(struct peers *p, uint64_t number)
{
    (void)p;
    fake.cancels++;
    fake.canceled = number;
}

static void set_vouched(struct peers *p, uint64_t id, const char *const *urls, size_t count)
{
    (void)p;
    assert_int_equal(count, 1);
    fake.vouched++;
    fake.vouched_id = id;
    strcpy(fake.vouched_url, urls[0]);
}

/* --- a member ------------------------------------------------------------------------------------------------ */

static char url_a[] = "http://a:1", url_a2[] = "http://a:2", url_c[] = "http://c:1",
            url_new[] = "http://new:1";
static char *urls_a[] = {url_a, url_a2}, *urls_c[] = {url_c}, *urls_new[] = {url_new};

static struct kv *start(void)
{
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    parts.peer_ops.query = query;
    parts.peer_ops.cancel = cancel;
    parts.peer_ops.set_vouched = set_vouched;
    parts.members[0].peer_urls = urls_a;
    parts.members[0].peer_url_count = 2;
    parts.members[2].peer_urls = urls_c;
    parts.members[2].peer_url_count = 1;
    return kv;
}

/* An answer of a running member that lists one member at these URLs. */
static Peerpb__Answer new_answer(uint64_t id, char **urls, size_t count)
{
    static Peerpb__ListedMember seat, *seats[] = {&seat};
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    peerpb__listed_member__init(&seat);
    seat.id = id;
    seat.peer_urls = urls;
    seat.n_peer_urls = count;
    a.run = fake.run;
    a.state = PEERPB__ANSWER__STATE__STARTED;
    a.cluster_id = PARTS_CLUSTER;
    a.members = seats;
    a.n_members = 1;
    return a;
}

static void deliver(unsigned n, int err, const Peerpb__Answer *a)
{
    struct buf text = {0};
    boot_write(&text, &a->base);
    fake.done[n](fake.args[n], err, buf_slice(&text));
    buf_done(&text);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void test_a_round_asks_all_others(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_peer_listing_start(kv);
    assert_int_equal(fake.queries, 2); /* not itself */
    assert_string_equal(fake.urls[0], "http://a:1");
    assert_string_equal(fake.urls[1], "http://c:1");
    Peerpb__Answer a = new_answer(UNKNOWN, urls_new, 1);
    deliver(1, OK, &a);
    assert_int_equal(fake.vouched_id, UNKNOWN);
    assert_string_equal(fake.vouched_url, "http://new:1");
}

/* A process that claims many ids costs no more than one that claims one. */
static void test_rounds_are_apart(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_peer_listing_start(kv);
    kv_peer_listing_start(kv);
    parts.now_ms += ROUND_MS - 1;
    kv_peer_listing_start(kv);
    assert_int_equal(fake.queries, 2);
    uint64_t run = fake.run;
    parts.now_ms += 1;
    kv_peer_listing_start(kv);
    assert_int_equal(fake.queries, 4);
    assert_string_equal(fake.urls[2], "http://a:2"); /* each of its URLs in turn */
    assert_int_equal(fake.cancels, 2);               /* what is still under way is of no use */
    assert_int_not_equal(fake.run, run);
}

static void test_what_is_no_news(void **state)
{
    (void)state;
    uint64_t removed[] = {UNKNOWN};
    struct kv *kv = start();
    kv_peer_listing_start(kv);
    Peerpb__Answer known = new_answer(3, urls_c, 1);
    deliver(0, OK, &known);
    Peerpb__Answer self = new_answer(PARTS_SELF, urls_new, 1);
    deliver(1, OK, &self);
    Peerpb__Answer without_urls = new_answer(UNKNOWN, NULL, 0);
    deliver(1, OK, &without_urls);
    kv->members.removed = removed;
    kv->members.removed_count = 1;
    Peerpb__Answer gone = new_answer(UNKNOWN, urls_new, 1);
    deliver(1, OK, &gone);
    assert_int_equal(fake.vouched, 0);
    Peerpb__Answer moved = new_answer(3, urls_new, 1); /* a known member with another URL is news */
    deliver(1, OK, &moved);
    assert_int_equal(fake.vouched_id, 3);
}

/* Of another round, of another cluster, of a process that only starts, of nobody. */
static void test_answers_that_do_not_count(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_peer_listing_start(kv);
    Peerpb__Answer a = new_answer(UNKNOWN, urls_new, 1);
    deliver(0, ERR_TIMEOUT, &a);
    a.run++;
    deliver(0, OK, &a);
    a = new_answer(UNKNOWN, urls_new, 1);
    a.cluster_id++;
    deliver(0, OK, &a);
    a = new_answer(UNKNOWN, urls_new, 1);
    a.state = PEERPB__ANSWER__STATE__EMPTY;
    deliver(0, OK, &a);
    fake.done[1](fake.args[1], OK, slice_text("\xff\xff"));
    assert_int_equal(fake.vouched, 0);
}

static void test_nobody_to_ask(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts.is_closing = true;
    kv_peer_listing_start(kv);
    parts.is_closing = false;
    kv->peers = NULL;
    kv_peer_listing_start(kv);
    kv->peers = &parts.peers;
    kv->members.list = &parts.members[PARTS_SELF - 1];
    kv->members.count = 1; /* it began a cluster of its own */
    kv_peer_listing_start(kv);
    assert_int_equal(fake.queries, 0);
}

static void test_close(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_peer_listing_start(kv);
    Peerpb__Answer a = new_answer(UNKNOWN, urls_new, 1);
    deliver(0, OK, &a);
    kv_peer_listing_close(kv);
    assert_int_equal(fake.cancels, 1); /* of the one that has not answered */
    assert_int_equal(fake.canceled, 101);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_round_asks_all_others), cmocka_unit_test(test_rounds_are_apart),
        cmocka_unit_test(test_what_is_no_news),         cmocka_unit_test(test_answers_that_do_not_count),
        cmocka_unit_test(test_nobody_to_ask),           cmocka_unit_test(test_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
