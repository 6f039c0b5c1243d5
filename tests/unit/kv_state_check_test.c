/* SPDX-License-Identifier: Apache-2.0
 * Comparison of states on one member: what it proposes when it sees a difference, and in which order a member
 * with a wrong state stops. node/corrupt.c, the vote, is linked as it is. */
#include <stdio.h>

#define KV_PARTS_REAL_STATE_CHECK
#include "kv_parts.h"

enum { INTERVAL_MS = 60000, LINGER_MS = 3000, RIGHT = 11, WRONG = 22, THIRD = 33, INDEX = 500 };

static uint32_t digest; /* of this member's store */

uint32_t store_digest(const struct store *s)
{
    (void)s;
    return digest;
}

/* --- files --------------------------------------------------------------------------------------------- */

static struct {
    int mkdir_err, sync_err, list_err, rename_err, rename_wal_err;
    unsigned closed;
    char opened[64];
    const char *names; /* two names, each ended by \0 */
    char renamed[2][64];
    unsigned rename_count, synced_dirs;
} files;

static int make_dir(struct io *io, const char *path)
{
    (void)io;
    assert_string_equal(path, "data/member");
    return files.mkdir_err;
}

static int open_file(struct io *io, const char *path, bool create, struct io_file **ret_file)
{
    (void)io;
    assert_true(create);
    snprintf(files.opened, sizeof files.opened, "%s", path);
    *ret_file = (struct io_file *)(uintptr_t)&files;
    return OK;
}

static int sync_file(struct io *io, struct io_file *file)
{
    (void)io;
    (void)file;
    parts_trace("mark");
    return files.sync_err;
}

static void close_file(struct io *io, struct io_file *file)
{
    (void)io;
    (void)file;
    files.closed++;
}

static int list_dir(struct io *io, const char *dir, struct buf *ret_names)
{
    (void)io;
    assert_string_equal(dir, "data/member");
    if (!files.list_err)
        buf_add(ret_names, files.names,
                strlen(files.names) + strlen(files.names + strlen(files.names) + 1) + 2);
    return files.list_err;
}

static int rename_dir(struct io *io, const char *from, const char *to)
{
    (void)io;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s.diverged-1700000000000", from);
    assert_string_equal(to, wanted);
    snprintf(files.renamed[files.rename_count++], sizeof files.renamed[0], "%s", from);
    return strcmp(from, "wal") == 0 ? files.rename_wal_err : files.rename_err;
}

static int sync_dir(struct io *io, const char *dir)
{
    (void)io;
    assert_string_equal(dir, "data");
    files.synced_dirs++;
    return OK;
}

/* --- a member ------------------------------------------------------------------------------------------ */

static Etcdserverpb__AlarmMember alarm_rows[4];

static struct kv *start(uint64_t leader)
{
    struct kv *kv = parts_start();
    memset(&files, 0, sizeof files);
    digest = RIGHT;
    parts.io_ops.mkdir = make_dir;
    parts.io_ops.open = open_file;
    parts.io_ops.sync = sync_file;
    parts.io_ops.close = close_file;
    parts.io_ops.list = list_dir;
    parts.io_ops.rename = rename_dir;
    parts.io_ops.sync_dir = sync_dir;
    kv->settings.data_dir = (char *)(uintptr_t) "data";
    kv->settings.check_interval_ms = INTERVAL_MS;
    kv->alarms.list = alarm_rows;
    parts_set_leader(leader);
    kv_state_check_init(&kv->state_check, parts.now_ms);
    return kv;
}

static void add_alarm(struct kv *kv, uint64_t member, Etcdserverpb__AlarmType type)
{
    Etcdserverpb__AlarmMember *a = &alarm_rows[kv->alarms.count++];
    etcdserverpb__alarm_member__init(a);
    a->memberid = member;
    a->alarm = type;
}

static void add_corrupt(struct kv *kv, uint64_t member)
{
    add_alarm(kv, member, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
}

static void apply_mark(struct kv *kv, uint32_t own)
{
    Etcdserverpb__StateCheckRequest m = ETCDSERVERPB__STATE_CHECK_REQUEST__INIT;
    digest = own;
    kv_apply_state_check(kv, INDEX, &m);
}

static void apply_report(struct kv *kv, uint64_t member, uint32_t reported)
{
    Etcdserverpb__StateCheckRequest m = ETCDSERVERPB__STATE_CHECK_REQUEST__INIT;
    m.member_id = member;
    m.index = INDEX;
    m.digest = reported;
    kv_apply_state_check(kv, INDEX + member, &m);
}

static void assert_reported(size_t n, uint32_t own)
{
    const Etcdserverpb__StateCheckRequest *m = parts_proposed(n, ENTRY_STATE_CHECK);
    assert_int_equal(m->member_id, PARTS_SELF);
    assert_int_equal(m->index, INDEX);
    assert_int_equal(m->digest, own);
}

static void assert_alarm(size_t n, uint64_t member, Etcdserverpb__AlarmRequest__AlarmAction action)
{
    const Etcdserverpb__AlarmRequest *m = parts_proposed(n, ENTRY_ALARM);
    assert_int_equal(m->memberid, member);
    assert_int_equal(m->action, action);
    assert_int_equal(m->alarm, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
}

static void assert_raised(size_t n, uint64_t member)
{
    assert_alarm(n, member, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE);
}

/* --- comparing ------------------------------------------------------------------------------------------ */

static void test_equal_states(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    apply_mark(kv, RIGHT);
    assert_reported(0, RIGHT); /* the leader, when it applies the mark */
    apply_report(kv, PARTS_SELF, RIGHT);
    assert_int_equal(parts.proposal_count, 1);
    kv = start(1);
    apply_mark(kv, RIGHT);
    apply_report(kv, 1, RIGHT);
    assert_int_equal(parts.proposal_count, 0); /* a follower has nothing to say */
    assert_false(kv_is_diverged(kv) || kv_is_stopped(kv));
}

/* A follower reports once, also when the difference is between two others. */
static void test_a_difference_is_reported_once(void **state)
{
    (void)state;
    struct kv *kv = start(1);
    apply_mark(kv, RIGHT);
    apply_report(kv, 1, RIGHT);
    apply_report(kv, 3, WRONG);
    assert_reported(0, RIGHT);
    apply_report(kv, PARTS_SELF, RIGHT);
    assert_int_equal(parts.proposal_count, 1);
    assert_false(kv_is_diverged(kv));
}

/* A member that did not apply the mark itself, or has another state since, is silent. */
static void test_no_mark_no_report(void **state)
{
    (void)state;
    struct kv *kv = start(1);
    apply_report(kv, 1, WRONG);
    apply_mark(kv, RIGHT);
    kv_state_check_reset(kv);
    apply_report(kv, 1, WRONG);
    apply_report(kv, 3, WRONG);
    assert_int_equal(parts.proposal_count, 0);
    assert_false(kv_is_diverged(kv));
}

/* --- this member's state is wrong ------------------------------------------------------------------------ */

static void let_diverge(struct kv *kv)
{
    apply_mark(kv, WRONG);
    parts_forget_proposals();
    parts.trace_count = 0;
    apply_report(kv, PARTS_SELF, WRONG);
    apply_report(kv, 1, RIGHT);
    assert_false(kv_is_diverged(kv)); /* one against one: not decided */
    apply_report(kv, 3, RIGHT);
}

/* The alarm, no service, the lead; the mark and the end only when the alarm is in the log and another leads. */
static void test_order_of_quarantine(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    let_diverge(kv);
    ASSERT_TRACE("propose", "transfer lead");
    assert_raised(0, PARTS_SELF);
    assert_true(kv_is_diverged(kv));
    assert_int_equal(parts.turns, 1);
    kv_state_check_tick(kv);
    assert_int_equal(parts.failed_err, OK); /* the alarm is not in the log */
    add_corrupt(kv, PARTS_SELF);
    kv_state_check_tick(kv);
    assert_int_equal(parts.failed_err, OK); /* it still leads */
    parts_set_leader(1);
    kv_state_check_tick(kv);
    ASSERT_TRACE("mark", "failed");
    assert_string_equal(files.opened, "data/member/diverged");
    assert_int_equal(files.closed, 1);
    assert_int_equal(parts.failed_err, ERR_CORRUPT);
    kv_state_check_tick(kv);
    assert_int_equal(parts.trace_count, 0); /* once */
}

/* More reports of the same comparison do not begin it again. */
static void test_quarantine_begins_once(void **state)
{
    (void)state;
    struct kv *kv = start(1);
    parts_set_voters(5);
    apply_mark(kv, WRONG);
    apply_report(kv, 1, RIGHT);
    apply_report(kv, PARTS_SELF, WRONG);
    apply_report(kv, 3, RIGHT);
    apply_report(kv, 4, RIGHT);
    assert_true(kv_is_diverged(kv));
    size_t before = parts.proposal_count;
    parts.now_ms += 1000;
    apply_report(kv, 5, RIGHT);
    assert_int_equal(parts.proposal_count, before);
    assert_int_equal(parts.transfers, 1);
    kv_state_check_reset(kv); /* another state: this process ends all the same */
    assert_true(kv_is_diverged(kv));
}

/* Without the others it ends by itself: 3 s after it has learned of its state, not before. */
static void test_lingering(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    let_diverge(kv);
    parts.now_ms += LINGER_MS;
    kv_state_check_tick(kv);
    assert_int_equal(parts.failed_err, OK);
    parts.now_ms += 1;
    kv_state_check_tick(kv);
    assert_int_equal(parts.failed_err, ERR_CORRUPT);
    assert_string_equal(files.opened, "data/member/diverged");
}

/* The disk does not take the mark: it ends nevertheless, and closes what it has opened. */
static void test_mark_fails(void **state)
{
    (void)state;
    struct kv *kv = start(1);
    let_diverge(kv);
    add_corrupt(kv, PARTS_SELF);
    files.sync_err = ERR_IO;
    kv_state_check_tick(kv);
    assert_int_equal(files.closed, 1);
    assert_int_equal(parts.failed_err, ERR_CORRUPT);
    kv = start(1);
    let_diverge(kv);
    add_corrupt(kv, PARTS_SELF);
    files.mkdir_err = ERR_NO_DISK_SPACE;
    kv_state_check_tick(kv);
    assert_string_equal(files.opened, "");
    assert_int_equal(parts.failed_err, ERR_CORRUPT);
}

/* --- others ---------------------------------------------------------------------------------------------- */

static void report_wrong_third(struct kv *kv)
{
    apply_mark(kv, RIGHT);
    apply_report(kv, 1, RIGHT);
    apply_report(kv, PARTS_SELF, RIGHT);
    parts_forget_proposals();
    apply_report(kv, 3, WRONG);
}

/* The leader names the member; everybody with the right state goes on. */
static void test_another_member_is_wrong(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    report_wrong_third(kv);
    assert_raised(0, 3);
    assert_int_equal(parts.proposal_count, 1);
    assert_false(kv_is_diverged(kv));
    kv = start(1);
    report_wrong_third(kv);
    assert_int_equal(parts.proposal_count, 0);
    kv = start(PARTS_SELF);
    add_corrupt(kv, 3); /* it is known already */
    report_wrong_third(kv);
    assert_int_equal(parts.proposal_count, 0);
    assert_false(kv_is_stopped(kv));
}

static void test_no_majority(void **state)
{
    (void)state;
    for (int leads = 0; leads < 2; leads++) {
        struct kv *kv = start(leads ? PARTS_SELF : 1);
        apply_mark(kv, RIGHT);
        apply_report(kv, 1, WRONG);
        apply_report(kv, PARTS_SELF, RIGHT);
        parts_forget_proposals();
        apply_report(kv, 3, THIRD);
        assert_int_equal(parts.proposal_count, leads);
        if (leads)
            assert_raised(0, 0); /* nobody in particular: all of them */
        assert_false(kv_is_diverged(kv));
        add_corrupt(kv, 0);
        assert_true(kv_is_stopped(kv));
    }
}

/* A CORRUPT alarm stops the cluster where no majority of the voters is known to be sound. */
static void test_which_alarms_stop_the_cluster(void **state)
{
    (void)state;
    struct kv *kv = start(1);
    assert_false(kv_is_stopped(kv));
    add_corrupt(kv, 1);
    assert_false(kv_is_stopped(kv));
    parts.members[2].is_learner = true; /* two voters, one of them sound */
    assert_true(kv_is_stopped(kv));
    parts.members[2].is_learner = false;
    add_alarm(kv, 3, ETCDSERVERPB__ALARM_TYPE__NOSPACE);
    assert_false(kv_is_stopped(kv));
    add_corrupt(kv, 3);
    assert_true(kv_is_stopped(kv));
}

/* --- the leader's clock ----------------------------------------------------------------------------------- */

static void test_ticks(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    parts.now_ms += INTERVAL_MS - 1;
    kv_state_check_tick(kv);
    assert_int_equal(parts.proposal_count, 0);
    parts.now_ms += 1;
    kv_state_check_tick(kv);
    kv_state_check_tick(kv);
    const Etcdserverpb__StateCheckRequest *m = parts_proposed(0, ENTRY_STATE_CHECK);
    assert_int_equal(m->member_id, 0);
    assert_true(parts.proposals[0].is_as_leader);
    assert_int_equal(parts.proposal_count, 1);
    parts_set_leader(1);
    parts.now_ms += INTERVAL_MS;
    kv_state_check_tick(kv);
    parts_set_leader(PARTS_SELF); /* a new leader begins with a whole interval */
    parts.now_ms += INTERVAL_MS - 1;
    kv_state_check_tick(kv);
    assert_int_equal(parts.proposal_count, 1);
}

static void test_nothing_to_compare(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    kv->settings.check_interval_ms = 0;
    parts.now_ms += INTERVAL_MS;
    kv_state_check_tick(kv);
    kv = start(PARTS_SELF);
    parts_set_voters(1);
    parts.now_ms += INTERVAL_MS;
    kv_state_check_tick(kv);
    assert_int_equal(parts.proposal_count, 0);
}

/* The alarm of a replaced member is disarmed; those of members, of all, and NOSPACE stay. */
static void test_alarm_of_a_replaced_member(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    add_corrupt(kv, 0);
    add_corrupt(kv, 3);
    add_corrupt(kv, 9);
    add_alarm(kv, 8, ETCDSERVERPB__ALARM_TYPE__NOSPACE);
    parts.now_ms += INTERVAL_MS;
    kv_state_check_tick(kv);
    assert_alarm(0, 9, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE);
    (void)parts_proposed(1, ENTRY_STATE_CHECK);
    assert_int_equal(parts.proposal_count, 2);
}

/* --- at the next start ------------------------------------------------------------------------------------ */

static void test_set_aside(void **state)
{
    (void)state;
    bool was_diverged = false;
    struct io *io = start(1)->io;
    files.names = "diverged\0store";
    assert_int_equal(kv_set_aside(io, "data", "wal", &was_diverged), OK);
    assert_true(was_diverged);
    assert_string_equal(files.renamed[0], "wal"); /* the mark goes last */
    assert_string_equal(files.renamed[1], "data/member");
    assert_int_equal(files.synced_dirs, 1);
    io = start(1)->io;
    files.names = "diverged\0wal";
    files.rename_wal_err = ERR_NOT_FOUND; /* it was set aside before a crash */
    assert_int_equal(kv_set_aside(io, "data", "wal", &was_diverged), OK);
    assert_int_equal(files.rename_count, 2);
}

static void test_sound_folder_stays(void **state)
{
    (void)state;
    bool was_diverged = true;
    struct io *io = start(1)->io;
    files.names = "store\0wal";
    assert_int_equal(kv_set_aside(io, "data", "wal", &was_diverged), OK);
    assert_false(was_diverged);
    files.list_err = ERR_NOT_FOUND; /* a first start */
    assert_int_equal(kv_set_aside(io, "data", "wal", &was_diverged), OK);
    assert_false(was_diverged);
    assert_int_equal(files.rename_count + files.synced_dirs, 0);
}

static void test_set_aside_fails(void **state)
{
    (void)state;
    bool was_diverged = false;
    struct io *io = start(1)->io;
    files.list_err = ERR_IO;
    assert_int_equal(kv_set_aside(io, "data", "wal", &was_diverged), ERR_IO);
    io = start(1)->io;
    files.names = "diverged\0wal";
    files.rename_wal_err = ERR_IO;
    assert_int_equal(kv_set_aside(io, "data", "wal", &was_diverged), ERR_IO);
    assert_int_equal(files.rename_count, 1); /* the mark can be found again */
    assert_false(was_diverged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_states),
        cmocka_unit_test(test_a_difference_is_reported_once),
        cmocka_unit_test(test_no_mark_no_report),
        cmocka_unit_test(test_order_of_quarantine),
        cmocka_unit_test(test_quarantine_begins_once),
        cmocka_unit_test(test_lingering),
        cmocka_unit_test(test_mark_fails),
        cmocka_unit_test(test_another_member_is_wrong),
        cmocka_unit_test(test_no_majority),
        cmocka_unit_test(test_which_alarms_stop_the_cluster),
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_nothing_to_compare),
        cmocka_unit_test(test_alarm_of_a_replaced_member),
        cmocka_unit_test(test_set_aside),
        cmocka_unit_test(test_sound_folder_stays),
        cmocka_unit_test(test_set_aside_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
