/* SPDX-License-Identifier: Apache-2.0
 * Tests of requests to defragment: which requests share one defragmentation, and their results while a
 * snapshot of the leader is installed, and when one begins at the start. A fake store records when a defragmentation begins, and ends it when
 * the test says so. */
#include "base/mem.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/store/defrag.h"
#include "unit.h"

#define CALLERS 4

/* --- the store, and the answers ---------------------------------------------------------------------- */

static struct {
    unsigned begun;
    void (*done)(void *arg, int err); /* NULL = none is under way */
    void *arg;
    const struct store *store;
} defrag;

void store_defrag(struct store *s, void (*done)(void *arg, int err), void *arg)
{
    assert_null(defrag.done);
    defrag.begun++;
    defrag.done = done;
    defrag.arg = arg;
    defrag.store = s;
}

bool store_defrag_is_running(const struct store *s)
{
    return defrag.done && defrag.store == s;
}

struct backend_pack store_defrag_progress(const struct store *s)
{
    (void)s;
    return (struct backend_pack){.needed = 20 << 20, .free = 10 << 20};
}

static struct store_sizes sizes;

struct store_sizes store_sizes(const struct store *s)
{
    (void)s;
    return sizes;
}

/* --- the other parts ----------------------------------------------------------------------------------- */

static bool is_installing, is_closing;

bool kv_is_installing(const struct kv *kv)
{
    (void)kv;
    return is_installing;
}

bool kv_is_closing(const struct kv *kv)
{
    (void)kv;
    return is_closing;
}

void kv_stop_list(struct kv *kv, struct link *list)
{
    while (!list_is_empty(list))
        kv_finish(kv, container_of(list->next, struct kv_request, link), ERR_STOPPED, NULL);
}

void kv_finish(struct kv *kv, struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)kv;
    list_remove(&r->link);
    r->state = KV_IDLE;
    r->done(r, err, response);
}

static void end_defrag(int err)
{
    void (*done)(void *, int) = defrag.done;
    assert_non_null(done);
    defrag.done = NULL;
    done(defrag.arg, err);
}

/* --- the caller --------------------------------------------------------------------------------------- */

struct caller {
    struct kv_request request;
    unsigned answers;
    int err;
};

struct rig {
    struct io_ops ops;
    struct io io;
    struct kv kv;
    struct caller callers[CALLERS];
    char old_store, new_store; /* whose addresses stand for stores */
};

static uint64_t mono_ns(struct io *io)
{
    (void)io;
    return 1;
}

static void on_answer(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct caller *c = container_of(r, struct caller, request);
    assert_true(err || response->descriptor == &etcdserverpb__defragment_response__descriptor);
    c->answers++;
    c->err = err;
}

static struct kv *rig_start(struct rig *rig)
{
    *rig = (struct rig){.ops = {.mono_ns = mono_ns}};
    memset(&defrag, 0, sizeof defrag);
    rig->io.ops = &rig->ops;
    rig->kv.io = &rig->io;
    rig->kv.store = (void *)&rig->old_store;
    kv_defrag_init(&rig->kv.defrag);
    is_installing = is_closing = false;
    return &rig->kv;
}

static void ask(struct rig *rig, unsigned n)
{
    rig->callers[n].request.done = on_answer;
    kv_defrag_add(&rig->kv, &rig->callers[n].request);
}

static void assert_answered(const struct rig *rig, unsigned n, int err)
{
    assert_int_equal(rig->callers[n].answers, 1);
    assert_int_equal(rig->callers[n].err, err);
}

static void begin_install(struct rig *rig)
{
    (void)rig;
    is_installing = true;
}

/* As in consensus/kv/snapshot_transfer.c: the new store is at the old one's address, and the old one is
 * dropped. */
static void end_install(struct rig *rig)
{
    is_installing = false;
    rig->kv.store = (void *)&rig->new_store;
    if (defrag.done)
        end_defrag(ERR_NOT_READY);
    kv_defrag_start(&rig->kv);
}

/* --- tests ------------------------------------------------------------------------------------------ */

/* As in etcd: a request that arrives during one waits for the next one, together with other waiting requests.
 */
static void test_later_ones_share_the_next(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig);
    ask(&rig, 0);
    ask(&rig, 1);
    ask(&rig, 2);
    assert_int_equal(defrag.begun, 1);
    end_defrag(OK);
    assert_answered(&rig, 0, OK);
    assert_int_equal(rig.callers[1].answers + rig.callers[2].answers, 0);
    assert_int_equal(defrag.begun, 2);
    end_defrag(OK);
    assert_answered(&rig, 1, OK);
    assert_answered(&rig, 2, OK);
    assert_int_equal(defrag.begun, 2);
    assert_null(defrag.done);
}

/* The install cancels the running one. Its callers do not notice: it runs again, on the snapshot's store,
 * together with the requests that arrived meanwhile. */
static void test_a_canceled_one_runs_again(void **state)
{
    (void)state;
    static const bool is_ended_before[] = {
        true, false}; /* the cancel ends before the install, or the install's end cuts it short */
    for (size_t i = 0; i < COUNT_OF(is_ended_before); i++) {
        struct rig rig;
        struct kv *kv = rig_start(&rig);
        ask(&rig, 0);
        ask(&rig, 1);
        begin_install(&rig);
        if (is_ended_before[i])
            end_defrag(ERR_CANCELED);
        ask(&rig, 2);
        kv_defrag_start(kv);
        assert_int_equal(defrag.begun, 1); /* none begins on a store that is about to be replaced */
        for (unsigned n = 0; n < 3; n++)
            assert_int_equal(rig.callers[n].answers, 0);
        end_install(&rig);
        assert_int_equal(defrag.begun, 2);
        assert_ptr_equal(defrag.store, &rig.new_store);
        end_defrag(OK);
        for (unsigned n = 0; n < 3; n++)
            assert_answered(&rig, n, OK);
        assert_int_equal(defrag.begun, 2);
    }
}

/* A caller that disconnects leaves the list by itself; when all have disconnected nothing runs again. */
static void test_a_canceled_one_without_callers_does_not(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig);
    ask(&rig, 0);
    begin_install(&rig);
    list_remove(&rig.callers[0].request.link); /* as kv_cancel */
    end_defrag(ERR_CANCELED);
    end_install(&rig);
    assert_int_equal(defrag.begun, 1);
}

/* Another error is the answer, and the next one still begins. */
static void test_a_failed_one_is_answered(void **state)
{
    (void)state;
    struct rig rig;
    struct kv *kv = rig_start(&rig);
    char text[200];
    ask(&rig, 0);
    ask(&rig, 1);
    end_defrag(ERR_NO_DISK_SPACE);
    assert_answered(&rig, 0, ERR_NO_DISK_SPACE);
    kv_defrag_refusal(kv, text, sizeof text);
    assert_non_null(strstr(text, "20 MiB are needed beside what is there, 10 MiB are free"));
    assert_int_equal(defrag.begun, 2);
    end_defrag(OK);
    assert_answered(&rig, 1, OK);
}

/* When the member closes, no defragmentation begins any more, whoever may still wait. */
static void test_closing(void **state)
{
    (void)state;
    struct rig rig;
    struct kv *kv = rig_start(&rig);
    ask(&rig, 0);
    ask(&rig, 1);
    is_closing = true;
    kv_finish(kv, &rig.callers[0].request, ERR_STOPPED, NULL); /* as kv_close */
    end_defrag(ERR_STOPPED);
    kv_defrag_start(kv);
    assert_int_equal(defrag.begun, 1);
    assert_answered(&rig, 0, ERR_STOPPED);
    assert_int_equal(rig.callers[1].answers, 0);
}

/* As in etcd: at the start the file is packed when it has at least so many MiB that are not in use. A request
 * that comes meanwhile waits for the next one; without a request nobody is answered. */
static void test_at_start(void **state)
{
    (void)state;
    static const struct {
        uint64_t megabytes, file, in_use;
        bool begins;
    } rows[] = {
        {0, 90 << 20, 0, false},
        {1, 3 << 20, 2 << 20, true},
        {1, 3 << 20, (2 << 20) + 1, false},
        {40, 90 << 20, 50 << 20, true},
        {41, 90 << 20, 50 << 20, false},
        {UINT64_MAX, 90 << 20, 50 << 20, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rig rig;
        struct kv *kv = rig_start(&rig);
        sizes = (struct store_sizes){.file = rows[i].file, .in_use = rows[i].in_use};
        kv_defrag_at_start(kv, rows[i].megabytes);
        assert_int_equal(defrag.begun, rows[i].begins);
        ask(&rig, 0);
        assert_int_equal(defrag.begun, 1);
        end_defrag(OK);
        assert_int_equal(defrag.begun, 1 + rows[i].begins);
        if (rows[i].begins)
            end_defrag(OK);
        assert_answered(&rig, 0, OK);
    }
    struct rig rig;
    struct kv *kv = rig_start(&rig);
    kv_defrag_at_start(kv, 1);
    begin_install(&rig);
    end_install(&rig); /* the store is another one, and packed as it came */
    assert_int_equal(defrag.begun, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_later_ones_share_the_next),
        cmocka_unit_test(test_a_canceled_one_runs_again),
        cmocka_unit_test(test_a_canceled_one_without_callers_does_not),
        cmocka_unit_test(test_a_failed_one_is_answered),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_at_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
