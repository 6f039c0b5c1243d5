/* SPDX-License-Identifier: Apache-2.0
 * Comparison of the members' states (node/corrupt.h), through the log, so that all see the same in the same
 * order:
 *
 *   leader, now and then    STATE_CHECK           every member keeps the digest of its state
 *   leader, applying that   STATE_CHECK + digest  a member with another one reports it, then all do
 *
 * The digest that most voters have is right. A member with another one, in this order:
 *   1. is named in a CORRUPT alarm
 *   2. serves no more and gives up the lead
 *   3. marks its folder and ends
 *   4. at its next start sets the folder aside, and joins as one that lost its disk
 *
 * The others go on: a CORRUPT alarm stops the cluster only where no majority is known to be sound (etcd stops
 * at any). When no digest has a majority, right cannot be told from wrong: then all stop. */
#include <inttypes.h>

#include "base/log.h"
#include "consensus/kv/kv_impl.h"

#define LINGER_MS 3000 /* until the alarm is in the log and the lead is elsewhere */

static const char mark_name[] = "diverged";

static const struct raft_ids *voters(const struct kv *kv)
{
    return &node_conf_state(kv->node)->voters;
}

/* --- alarms ------------------------------------------------------------------------------------------- */

/* From what the log has decided alone: members and alarms. */
bool kv_is_stopped(const struct kv *kv)
{
    size_t count = 0, sound = 0;
    for (size_t i = 0; i < kv->members.count; i++) {
        const struct member *m = &kv->members.list[i];
        count += !m->is_learner;
        sound += !m->is_learner && !alarms_has_member(&kv->alarms, m->id, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
    }
    return alarms_has_member(&kv->alarms, 0, ETCDSERVERPB__ALARM_TYPE__CORRUPT) || sound <= count / 2;
}

static void propose_alarm(struct kv *kv, Etcdserverpb__AlarmRequest__AlarmAction action, uint64_t member)
{
    Etcdserverpb__AlarmRequest m = ETCDSERVERPB__ALARM_REQUEST__INIT;
    m.action = action;
    m.memberid = member;
    m.alarm = ETCDSERVERPB__ALARM_TYPE__CORRUPT;
    (void)kv_propose(kv, ENTRY_ALARM, &m.base);
}

static void raise(struct kv *kv, uint64_t member)
{
    if (!alarms_has_member(&kv->alarms, member, ETCDSERVERPB__ALARM_TYPE__CORRUPT))
        propose_alarm(kv, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE, member);
}

/* The alarm of a member that was replaced has done its work. */
static void disarm_gone(struct kv *kv)
{
    for (size_t i = 0; i < kv->alarms.count; i++) {
        const Etcdserverpb__AlarmMember *a = &kv->alarms.list[i];
        if (a->alarm == ETCDSERVERPB__ALARM_TYPE__CORRUPT && a->memberid &&
            !member_find(&kv->members, a->memberid))
            propose_alarm(kv, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE, a->memberid);
    }
}

/* --- this member has diverged --------------------------------------------------------------------------- */

static void quarantine(struct kv *kv)
{
    if (kv->state_check.diverged_since_ms)
        return;
    kv->state_check.diverged_since_ms = kv_now_ms(kv);
    log_error("this member's state differs from that of the majority: it serves no more",
              F_HEX("local-member-id", kv->member_id), F_UINT("index", kv->state_check.corrupt.index),
              F_UINT("digest", kv->state_check.corrupt.digest));
    raise(kv, kv->member_id);
    (void)kv_transfer_lead(kv);
    kv_schedule_turn(kv);
}

static int write_mark(struct io *io, const char *data_dir)
{
    struct buf path = {0};
    struct io_file *file;
    buf_addf(&path, "%s/member", data_dir);
    int err = io->ops->mkdir(io, buf_text(&path));
    buf_addf(&path, "/%s", mark_name);
    if (!err)
        err = io->ops->open(io, buf_text(&path), true, &file);
    if (!err) {
        err = io->ops->sync(io, file);
        io->ops->close(io, file);
    }
    buf_done(&path);
    return err;
}

static void end_diverged(struct kv *kv, uint64_t now_ms)
{
    bool is_told = alarms_has_member(&kv->alarms, kv->member_id, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
    bool is_late = now_ms - kv->state_check.diverged_since_ms > LINGER_MS;
    if (kv_failure(kv) || (!is_late && (!is_told || kv->state.is_leader)))
        return;
    if (write_mark(kv->io, kv->settings.data_dir) != OK)
        log_error("the folder cannot be marked; remove it before the next start",
                  F_STR("data-dir", kv->settings.data_dir));
    kv_set_failed(kv, ERR_CORRUPT);
}

static int set_aside(struct io *io, const char *path)
{
    struct buf to = {0};
    buf_addf(&to, "%s.diverged-%" PRIu64, path, io->ops->wall_ns(io) / 1000000);
    int err = io->ops->rename(io, path, buf_text(&to));
    buf_done(&to);
    return err == ERR_NOT_FOUND ? OK : err;
}

int kv_set_aside(struct io *io, const char *data_dir, const char *wal_dir, bool *ret_was_diverged)
{
    struct buf member = {0}, names = {0};
    bool was_diverged = false;
    buf_addf(&member, "%s/member", data_dir);
    int err = io->ops->list(io, buf_text(&member), &names);
    for (size_t at = 0; !err && at < names.size; at += strlen((const char *)names.data + at) + 1)
        was_diverged = was_diverged || strcmp((const char *)names.data + at, mark_name) == 0;
    if (err == ERR_NOT_FOUND)
        err = OK;
    if (!err && was_diverged && wal_dir) /* the log first: the mark must be found again until all is done */
        err = set_aside(io, wal_dir);
    if (!err && was_diverged)
        err = set_aside(io, buf_text(&member));
    if (!err && was_diverged)
        err = io->ops->sync_dir(io, data_dir);
    buf_done(&member);
    buf_done(&names);
    if (!err)
        *ret_was_diverged = was_diverged;
    return err;
}

/* --- comparing -------------------------------------------------------------------------------------- */

static void report_own(struct kv *kv)
{
    Etcdserverpb__StateCheckRequest m = ETCDSERVERPB__STATE_CHECK_REQUEST__INIT;
    m.member_id = kv->member_id;
    m.index = kv->state_check.corrupt.index;
    m.digest = kv->state_check.corrupt.digest;
    (void)kv_propose(kv, ENTRY_STATE_CHECK, &m.base); /* lost: the next time, then */
}

static void act_on_verdict(struct kv *kv)
{
    const struct corrupt *c = &kv->state_check.corrupt;
    enum corrupt_verdict verdict = corrupt_judge(c, voters(kv));
    if (verdict == CORRUPT_NO_MAJORITY && kv->state.is_leader) {
        log_error("the members' states differ and none has a majority: nothing is served",
                  F_UINT("index", c->index));
        raise(kv, 0);
    }
    if (verdict != CORRUPT_DECIDED)
        return;
    for (size_t i = 0; i < c->count; i++) {
        uint64_t member = c->reports[i].member;
        if (!corrupt_is_diverged(c, voters(kv), member))
            continue;
        if (member == kv->member_id) {
            quarantine(kv);
        } else if (kv->state.is_leader) {
            log_error("a member's state differs from that of the majority", F_HEX("member-id", member),
                      F_UINT("index", c->index));
            raise(kv, member);
        }
    }
}

void kv_apply_state_check(struct kv *kv, uint64_t index, const Etcdserverpb__StateCheckRequest *m)
{
    if (m->member_id == 0) {
        corrupt_mark(&kv->state_check.corrupt, index, store_digest(kv->store));
        if (kv->state.is_leader)
            report_own(kv);
        return;
    }
    if (corrupt_report(&kv->state_check.corrupt, kv->member_id, m->member_id, m->index, m->digest))
        report_own(kv);
    act_on_verdict(kv);
}

void kv_state_check_tick(struct kv *kv)
{
    Etcdserverpb__StateCheckRequest m = ETCDSERVERPB__STATE_CHECK_REQUEST__INIT;
    uint64_t now = kv_now_ms(kv);
    if (kv->state_check.diverged_since_ms)
        end_diverged(kv, now);
    if (!kv->state.is_leader || !kv->settings.check_interval_ms || voters(kv)->count < 2) {
        kv->state_check.checked_ms = now;
        return;
    }
    if (now - kv->state_check.checked_ms < kv->settings.check_interval_ms)
        return;
    kv->state_check.checked_ms = now;
    disarm_gone(kv);
    (void)kv_propose_as_leader(kv, ENTRY_STATE_CHECK, &m.base);
}

bool kv_is_diverged(const struct kv *kv)
{
    return kv->state_check.diverged_since_ms != 0;
}

void kv_state_check_init(struct kv_state_check *c, uint64_t now_ms)
{
    c->checked_ms = now_ms;
}

void kv_state_check_reset(struct kv *kv)
{
    kv->state_check.corrupt = (struct corrupt){0};
}
