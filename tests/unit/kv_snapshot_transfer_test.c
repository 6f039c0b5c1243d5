/* SPDX-License-Identifier: Apache-2.0
 * Snapshots between members: which part of the transfer hears what, and the exchange of the store in one go.
 * Sender, receiver and installer (consensus/node) only record their calls. */
#include <stdio.h>

#define KV_PARTS_REAL_SNAPSHOT_TRANSFER
#include "kv_parts.h"

#include "consensus/node/conf_store.h"
#include "consensus/node/snapshot_receive.h"
#include "consensus/node/snapshot_send.h"
#include "consensus/store/defrag.h"

enum { DURABLE = 1000, OTHER = 3 };

static char old_store, new_store, sending, receiving, installing; /* whose addresses stand for them */

static struct {
    struct snapshot_send_options send;
    struct snapshot_receive_options receive;
    struct snapshot_install_options install;
    void (*installed)(void *arg, int err, const char *error, struct store *store);
    void *arg;
    struct raft_conf_state conf; /* in the new store */
    int conf_err, scan_err, members_err, alarms_err, auth_err, level_err;
    int recover_err, receive_clean_err, send_clean_err, sync_err;
    uint64_t needed, log_bytes, begin, forgotten, reachable, reported;
    bool was_delivered, takes;
    const struct store *dropped;
    struct snapshot_packet packet; /* what the next message is */
    int packet_err;
    struct blob *blob; /* of the message's entry */
    unsigned offers, pieces, answers, reports;
    void (*copied)(void *arg, int err);
} fake;

/* --- sender, receiver, installer --------------------------------------------------------------------------- */

struct snapshot_send *snapshot_send_new(const struct snapshot_send_options *options)
{
    fake.send = *options;
    return (void *)&sending;
}

void snapshot_send_close(struct snapshot_send *s)
{
    assert_ptr_equal(s, &sending);
    parts_trace("send close");
}

void snapshot_send_start(struct snapshot_send *s, const struct raft_message *m, uint64_t log_begin)
{
    (void)s;
    assert_int_equal(m->to, OTHER);
    fake.begin = log_begin;
}

void snapshot_send_answer(struct snapshot_send *s, uint64_t from, const struct snapshot_answer *answer)
{
    (void)s;
    assert_int_equal(from, OTHER);
    assert_int_equal(answer->offset, 7);
    fake.answers++;
}

void snapshot_send_reachable(struct snapshot_send *s, uint64_t id)
{
    (void)s;
    fake.reachable = id;
}

void snapshot_send_forget(struct snapshot_send *s, uint64_t id)
{
    (void)s;
    fake.forgotten = id;
}

void snapshot_send_stop(struct snapshot_send *s)
{
    assert_ptr_equal(s, &sending);
    parts_trace("send stop");
}

uint64_t snapshot_send_needs(const struct snapshot_send *s)
{
    assert_ptr_equal(s, &sending);
    return fake.needed;
}

int snapshot_send_clean(struct io *io, const char *dir)
{
    (void)io;
    assert_string_equal(dir, "data/member");
    parts_trace("send clean");
    return fake.send_clean_err;
}

struct snapshot_receive *snapshot_receive_new(const struct snapshot_receive_options *options)
{
    fake.receive = *options;
    return (void *)&receiving;
}

void snapshot_receive_close(struct snapshot_receive *r)
{
    assert_ptr_equal(r, &receiving);
    parts_trace("receive close");
}

void snapshot_receive_offer(struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *offer)
{
    (void)r;
    (void)offer;
    assert_int_equal(from, OTHER);
    fake.offers++;
}

void snapshot_receive_piece(struct snapshot_receive *r, uint64_t from, const struct snapshot_piece *piece)
{
    (void)r;
    (void)from;
    assert_int_equal(piece->offset, 5);
    fake.pieces++;
}

void snapshot_receive_done(struct snapshot_receive *r)
{
    (void)r;
    parts_trace("receive done");
}

int snapshot_receive_clean(struct io *io, const char *dir, bool keeps_whole)
{
    (void)io;
    (void)dir;
    assert_false(keeps_whole);
    parts_trace("receive clean");
    return fake.receive_clean_err;
}

int snapshot_read(struct slice bytes, struct arena *a, struct snapshot_packet *ret_packet)
{
    (void)bytes;
    (void)a;
    *ret_packet = fake.packet;
    return fake.packet_err;
}

struct snapshot_install *
snapshot_install_start(const struct snapshot_install_options *options, const struct raft_snapshot *snapshot,
                       void (*done)(void *arg, int err, const char *error, struct store *store), void *arg)
{
    (void)snapshot;
    parts_trace("install");
    fake.install = *options;
    fake.installed = done;
    fake.arg = arg;
    return (void *)&installing;
}

void snapshot_install_cancel(struct snapshot_install *i)
{
    assert_ptr_equal(i, &installing);
    parts_trace("install cancel");
}

int snapshot_install_recover(const struct snapshot_install_options *options, const char *wal_dir, char *error,
                             size_t error_size)
{
    assert_string_equal(wal_dir, "wal");
    parts_trace("recover");
    fake.install = *options;
    snprintf(error, error_size, "of the installer");
    return fake.recover_err;
}

/* --- what is read anew from another store ---------------------------------------------------------------------- */

#define TRACED(function, parameter, name)                                                                    \
    void function(parameter)                                                                                 \
    {                                                                                                        \
        parts_trace(name);                                                                                   \
    }
TRACED(kv_state_check_reset, __attribute__((unused)) struct kv *kv, "forget digest")
TRACED(lease_table_reset, __attribute__((unused)) struct lease_table *t, "reset leases")
TRACED(kv_peers_set, __attribute__((unused)) struct kv *kv, "set peers")
TRACED(kv_listen_to_store, __attribute__((unused)) struct kv *kv, "listen")
TRACED(kv_scan_restart_all, __attribute__((unused)) struct kv *kv, "restart scans")
TRACED(kv_defrag_start, __attribute__((unused)) struct kv *kv, "start defrag")
TRACED(node_installed, __attribute__((unused)) struct node *n, "node goes on")
TRACED(node_stop, __attribute__((unused)) struct node *n, "node stops")
TRACED(store_defrag_cancel, __attribute__((unused)) struct store *s, "cancel defrag")

static void assert_is_new(const struct store *s)
{
    assert_ptr_equal(s, &new_store);
    assert_ptr_equal(parts.kv.store, &new_store);
}

int conf_store_load(struct store *s, struct raft_conf_state *ret_conf)
{
    assert_ptr_equal(s, &new_store);
    *ret_conf = fake.conf;
    return fake.conf_err;
}

int store_scan(struct store *s, enum backend_table table,
               bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    assert_is_new(s);
    assert_int_equal(table, BACKEND_LEASES);
    assert_ptr_equal(fn, kv_restore_lease);
    (void)arg;
    parts_trace("read leases");
    return fake.scan_err;
}

bool kv_restore_lease(void *arg, struct slice key, struct slice value)
{
    (void)arg;
    (void)key;
    (void)value;
    return true;
}

void store_attach_leases(struct store *s)
{
    assert_is_new(s);
    parts_trace("attach leases");
}

int members_load(struct members *m, struct store *s)
{
    static struct member list[2];
    assert_is_new(s);
    parts_trace("read members");
    list[0] = (struct member){.id = PARTS_SELF};
    list[1] = (struct member){.id = OTHER};
    *m = (struct members){.list = list, .count = 2};
    return fake.members_err;
}

void members_done(struct members *m)
{
    assert_ptr_equal(m->list, parts.members);
}

int alarms_load(struct alarms *a, struct store *s)
{
    (void)a;
    assert_is_new(s);
    parts_trace("read alarms");
    return fake.alarms_err;
}

void alarms_done(struct alarms *a)
{
    (void)a;
}

int kv_auth_load(struct kv *kv)
{
    assert_is_new(kv->store);
    parts_trace("read users");
    return fake.auth_err;
}

int kv_feature_load(struct kv *kv)
{
    assert_is_new(kv->store);
    parts_trace("read level");
    return fake.level_err;
}

const char *kv_feature_text(const struct kv *kv)
{
    (void)kv;
    return "a newer version";
}

void watch_store_replaced(struct watch_hub *h, struct store *store)
{
    (void)h;
    assert_is_new(store);
    parts_trace("watch");
}

void store_drop(struct store *s)
{
    fake.dropped = s;
    parts_trace("drop");
}

/* --- the node and the store ------------------------------------------------------------------------------------- */

uint64_t node_log_begin(const struct node *n)
{
    (void)n;
    return 900;
}

uint64_t node_log_disk_bytes(const struct node *n)
{
    (void)n;
    return fake.log_bytes;
}

bool node_receive_snapshot(struct node *n, const struct raft_message *m)
{
    (void)n;
    (void)m;
    return fake.takes;
}

void node_report_snapshot(struct node *n, uint64_t id, bool delivered)
{
    (void)n;
    fake.reported = id;
    fake.was_delivered = delivered;
    fake.reports++;
}

void store_next_copy(const struct store *s, uint64_t *ret_index, uint64_t *ret_term)
{
    (void)s;
    *ret_index = 77;
    *ret_term = 5;
}

void store_copy(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg)
{
    (void)s;
    (void)arg;
    assert_string_equal(path, "copy.tmp");
    fake.copied = done;
}

static int sync_dir(struct io *io, const char *dir)
{
    (void)io;
    assert_string_equal(dir, "data/member");
    parts_trace("sync");
    return fake.sync_err;
}

/* --- a member ------------------------------------------------------------------------------------------------------ */

static struct kv *start(void)
{
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    parts.io_ops.sync_dir = sync_dir;
    kv->store = (void *)&old_store;
    kv->settings.member_dir = (char *)(uintptr_t) "data/member";
    kv_snapshot_open(kv, &(struct kv_options){.io = kv->io, .peers = kv->peers, .snapshot_bytes_per_s = 99});
    fake.needed = UINT64_MAX;
    fake.conf = parts.conf;
    return kv;
}

static void begin_install(struct kv *kv)
{
    struct raft_snapshot snapshot = {.index = 50, .term = 4, .conf_state = parts.conf};
    kv_install(kv, &snapshot);
    ASSERT_TRACE("cancel defrag", "install"); /* in this order: the packed file must not take the name */
    assert_true(kv_is_installing(kv));
}

static void end_install(int err)
{
    fake.installed(fake.arg, err, err ? "no room" : NULL, err ? NULL : (void *)&new_store);
}

/* --- sending ---------------------------------------------------------------------------------------------------------- */

static void done_copying(void *arg, int err)
{
    (void)arg;
    (void)err;
}

static void test_sending(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(fake.send.bytes_per_s, 99);
    struct raft_message m = {.to = OTHER};
    kv_send_snapshot(kv, &m);
    assert_int_equal(fake.begin, 900);
    struct raft_snapshot copy;
    fake.send.copy(fake.send.arg, "copy.tmp", &copy, done_copying, NULL);
    assert_int_equal(copy.index, 77); /* of the copy, not of the message */
    assert_int_equal(copy.term, 5);
    assert_int_equal(copy.conf_state.voters.count, 3);
    assert_ptr_equal(fake.copied, done_copying);
    fake.send.report(fake.send.arg, OTHER, true);
    assert_int_equal(fake.reported, OTHER);
    assert_true(fake.was_delivered);
    assert_int_equal(parts.turns, 1);
    kv_snapshot_on_reachable(kv, 1);
    kv_snapshot_forget(kv, OTHER);
    assert_int_equal(fake.reachable, 1);
    assert_int_equal(fake.forgotten, OTHER);
    kv_snapshot_stop_sending(kv);
    ASSERT_TRACE("send stop");
}

/* The log is kept for a transfer, within limits of entries and bytes. */
static void test_log_that_is_needed(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(kv_log_needed(kv, DURABLE), DURABLE);
    fake.needed = DURABLE - 10;
    assert_int_equal(kv_log_needed(kv, DURABLE), DURABLE - 10);
    assert_int_equal(kv_log_needed(kv, DURABLE - 10), DURABLE - 10);
    assert_int_equal(kv_log_needed(kv, DURABLE - 10 + 200000), DURABLE - 10);
    assert_int_equal(kv_log_needed(kv, DURABLE - 10 + 200001), DURABLE - 10 + 200001);
    kv->settings.log_disk_bytes_max = 100;
    fake.log_bytes = 403;
    assert_int_equal(kv_log_needed(kv, DURABLE), DURABLE - 10);
    fake.log_bytes = 404; /* four times as much */
    assert_int_equal(kv_log_needed(kv, DURABLE), DURABLE);
    kv_snapshot_close(kv);
    assert_int_equal(kv_log_needed(kv, DURABLE), DURABLE); /* alone, or closing */
    kv_snapshot_stop_sending(kv);
}

/* --- receiving ---------------------------------------------------------------------------------------------------------- */

static void test_messages(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.packet = (struct snapshot_packet){.kind = SNAPSHOT_PIECE, .piece.offset = 5};
    kv_on_snapshot_message(kv, OTHER, slice_text("x"));
    fake.packet = (struct snapshot_packet){.kind = SNAPSHOT_ANSWER, .answer.offset = 7};
    kv_on_snapshot_message(kv, OTHER, slice_text("x"));
    fake.packet_err = ERR_MALFORMED;
    kv_on_snapshot_message(kv, OTHER, slice_text("x"));
    assert_int_equal(fake.pieces, 1);
    assert_int_equal(fake.answers, 1);
}

/* The decoded message holds references to its payloads. */
static void test_offer_is_released(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct raft_snapshot snapshot = {.data = blob_copy(slice_text("name"))};
    struct blob *data = blob_ref(snapshot.data);
    fake.packet = (struct snapshot_packet){.kind = SNAPSHOT_OFFER, .offer.message.snapshot = &snapshot};
    kv_on_snapshot_message(kv, OTHER, slice_text("x"));
    assert_int_equal(fake.offers, 1);
    assert_int_equal(data->references, 1);
    blob_unref(data);
}

static void test_delivery(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct raft_message m = {0};
    assert_int_equal(fake.receive.member_id, PARTS_SELF);
    assert_false(fake.receive.deliver(kv, &m));
    fake.takes = true;
    assert_true(fake.receive.deliver(kv, &m));
    assert_int_equal(parts.turns, 2);
    fake.receive.failed(kv, ERR_IO);
    assert_int_equal(parts.failed_err, ERR_IO);
}

/* --- installing ---------------------------------------------------------------------------------------------------------- */

/* All that was read from the old store is read from the new one before the old one goes, and the node goes on
 * last. */
static void test_install(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts.members[2].was_heard = true;
    begin_install(kv);
    assert_int_equal(get_be64(fake.install.identity), PARTS_CLUSTER);
    assert_int_equal(get_be64(fake.install.identity + 8), PARTS_SELF);
    assert_ptr_equal(kv->store, &old_store); /* it goes on serving */
    end_install(OK);
    ASSERT_TRACE("forget digest", "reset leases", "read leases", "attach leases", "read members", "set peers",
                 "read alarms", "read users", "reset space alarm", "read level", "listen", "watch",
                 "restart scans", "drop", "start defrag", "receive done", "node goes on");
    assert_ptr_equal(fake.dropped, &old_store);
    assert_false(kv_is_installing(kv));
    assert_int_equal(parts.turns, 1);
    assert_int_equal(parts.failed_err, OK);
    assert_int_equal(kv->members.count, 2);
    assert_true(member_find(&kv->members, OTHER)->was_heard); /* no fact of the log: it stays */
    assert_false(member_find(&kv->members, PARTS_SELF)->was_heard);
}

static void assert_not_installed(struct kv *kv, int err)
{
    assert_int_equal(parts.failed_err, err);
    assert_ptr_equal(kv->store, &old_store);
    assert_false(kv_is_installing(kv));
}

static void test_install_fails(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin_install(kv);
    end_install(ERR_NO_DISK_SPACE);
    assert_not_installed(kv, ERR_NO_DISK_SPACE);
    ASSERT_TRACE("failed");
    kv = start();
    begin_install(kv);
    fake.conf_err = ERR_NOT_FOUND;
    end_install(OK);
    assert_not_installed(kv, ERR_NOT_FOUND);
    ASSERT_TRACE("drop", "failed");
    assert_ptr_equal(fake.dropped, &new_store);
}

/* Its message said another configuration: it is not what raft has taken. */
static void test_other_configuration(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin_install(kv);
    fake.conf.voters.count--;
    end_install(OK);
    assert_not_installed(kv, ERR_CORRUPT);
    assert_ptr_equal(fake.dropped, &new_store);
}

/* The state is of a newer version: this member stops before it applies anything. */
static void test_newer_level(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin_install(kv);
    fake.level_err = ERR_LEVEL;
    end_install(OK);
    assert_int_equal(parts.failed_err, ERR_LEVEL);
    assert_string_equal(parts.trace[parts.trace_count - 1], "node stops");
    assert_int_equal(parts.turns, 0);
}

/* A part of the new store cannot be read: the process ends, whatever part it is. */
static void test_new_store_cannot_be_read(void **state)
{
    (void)state;
    int *errors[] = {&fake.scan_err, &fake.members_err, &fake.alarms_err, &fake.auth_err};
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        struct kv *kv = start();
        begin_install(kv);
        *errors[i] = ERR_CORRUPT;
        end_install(OK);
        assert_int_equal(parts.failed_err, ERR_CORRUPT);
    }
}

/* --- start and end ---------------------------------------------------------------------------------------------------------- */

static int recover(struct kv *kv, char *error, size_t size)
{
    parts.trace_count = 0;
    return kv_snapshot_recover(kv, &(struct kv_options){.io = kv->io}, 123, "wal", error, size);
}

static void test_recover(void **state)
{
    (void)state;
    struct kv *kv = start();
    char error[200];
    assert_int_equal(recover(kv, error, sizeof error), OK);
    ASSERT_TRACE("recover", "receive clean", "send clean", "sync");
    assert_int_equal(fake.install.map_size, 123);
    fake.recover_err = ERR_CORRUPT;
    assert_int_equal(recover(kv, error, sizeof error), ERR_CORRUPT);
    assert_string_equal(error, "of the installer");
    ASSERT_TRACE("recover"); /* what the installer needs is not deleted */
    int *errors[] = {&fake.receive_clean_err, &fake.send_clean_err, &fake.sync_err};
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        kv = start();
        *errors[i] = ERR_IO;
        assert_int_equal(recover(kv, error, sizeof error), ERR_IO);
        assert_non_null(strstr(error, "data/member: what is left of snapshots cannot be deleted"));
    }
}

/* The new store is opened as the one of the start was. */
static void test_store_options(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct store_options options = {.commit_ops = 4711};
    kv_snapshot_set_store(kv, &options);
    begin_install(kv);
    assert_int_equal(fake.install.store.commit_ops, 4711);
}

static void test_close(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin_install(kv);
    kv_snapshot_close(kv);
    ASSERT_TRACE("send close", "receive close", "install cancel");
    assert_false(kv_is_installing(kv));
    kv = start();
    kv_snapshot_close(kv);
    ASSERT_TRACE("send close", "receive close");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sending),       cmocka_unit_test(test_log_that_is_needed),
        cmocka_unit_test(test_messages),      cmocka_unit_test(test_offer_is_released),
        cmocka_unit_test(test_delivery),      cmocka_unit_test(test_install),
        cmocka_unit_test(test_install_fails), cmocka_unit_test(test_other_configuration),
        cmocka_unit_test(test_newer_level),   cmocka_unit_test(test_new_store_cannot_be_read),
        cmocka_unit_test(test_recover),       cmocka_unit_test(test_store_options),
        cmocka_unit_test(test_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
