/* SPDX-License-Identifier: Apache-2.0
 * Diagnosis for `cairnctl doctor`: facts in, findings out. A finding has one sentence about the problem and
 * one with advice. Sends no requests. */
#include "sdk/ctl/doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "sdk/ctl/show.h"

enum { BEHIND_MANY = 5000, FULL_PERCENT = 80 };

struct diagnosis {
    json_t *bad, *warn, *info;
};

static void ctl_doctor_find(json_t *list, const char *level, const char *todo, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void ctl_doctor_find(json_t *list, const char *level, const char *todo, const char *format, ...)
{
    struct buf what = {0};
    va_list args;
    va_start(args, format);
    buf_addv(&what, format, args);
    va_end(args);
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:s}", "level", level, "what", buf_text(&what), "do", todo));
    buf_done(&what);
}

static const char *name_of(const json_t *member)
{
    const char *name = ctl_json_text(member, "name");
    return *name ? name : ctl_json_text(member, "id");
}

static bool is_voter(const json_t *member)
{
    return strcmp(ctl_json_text(member, "role"), "learner") != 0;
}

static bool is_reachable(const json_t *member)
{
    return json_is_true(ctl_json_at(member, "reachable"));
}

/* --- reachability --------------------------------------------------------------------------------------- */

static void diagnose_absent(struct diagnosis *d, const json_t *member)
{
    char todo[400];
    const char *id = ctl_json_text(member, "id");
    if (!*ctl_json_text(member, "name")) {
        snprintf(todo, sizeof todo,
                 "Start it with --initial-cluster-state existing, or remove it: cairnctl member remove %s",
                 id);
        ctl_doctor_find(d->warn, "warn", todo, "Member %s (%s) was added and has never been started.", id,
                        ctl_json_text(member, "peer_url"));
        return;
    }
    snprintf(todo, sizeof todo,
             "Look at its log and start it again. If its machine is gone for good: cairnctl member remove %s",
             id);
    ctl_doctor_find(d->warn, "warn", todo, "Member %s at %s does not answer: %s.", name_of(member),
                    ctl_json_text(member, "endpoint"), ctl_json_text(member, "error"));
}

static void diagnose_quorum(struct diagnosis *d, const json_t *members)
{
    size_t voters = 0, up = 0;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        voters += is_voter(m);
        up += is_voter(m) && is_reachable(m);
        if (!is_reachable(m))
            diagnose_absent(d, m);
    }
    size_t quorum = voters / 2 + 1;
    if (voters && up < quorum)
        ctl_doctor_find(
            d->bad, "bad",
            "Bring members back until a majority is up. Nothing that was written is lost meanwhile.",
            "Only %zu of %zu voting members answer and %zu are needed: nothing can be written.", up, voters,
            quorum);
    else if (up == quorum && up < voters)
        ctl_doctor_find(d->warn, "warn", "Bring the absent ones back soon.",
                        "%zu of %zu voting members answer: one more loss and nothing can be written.", up,
                        voters);
    if (voters == 1)
        ctl_doctor_find(d->info, "info", "For more, start two others: cairnctl member add",
                        "There is one voting member: when it is down, so is the service.");
    else if (voters && voters % 2 == 0)
        ctl_doctor_find(d->info, "info", "Add one or take one out.",
                        "%zu voting members survive no more losses than %zu would.", voters, voters - 1);
}

static void diagnose_leader(struct diagnosis *d, const json_t *members)
{
    const char *leader = NULL;
    bool is_unknown = false, is_split = false;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *its = ctl_json_text(m, "leader");
        if (!is_reachable(m))
            continue;
        is_unknown = is_unknown || !*its;
        is_split = is_split || (*its && leader && strcmp(leader, its) != 0);
        leader = *its ? its : leader;
    }
    if (is_split)
        ctl_doctor_find(d->warn, "warn", "An election may be under way: try again in some seconds.",
                        "The members do not agree on the leader.");
    else if (is_unknown && !leader)
        ctl_doctor_find(d->bad, "bad", "A majority of the voting members must reach each other's peer URLs.",
                        "No member knows a leader.");
    else if (is_unknown)
        ctl_doctor_find(d->warn, "warn",
                        "It may be cut off from the others: look at its log and its network.",
                        "A member knows no leader, while others do.");
}

/* --- state of each member ------------------------------------------------------------------------------- */

static void diagnose_member(struct diagnosis *d, const json_t *member, int64_t newest)
{
    const json_t *errors = ctl_json_at(member, "errors");
    int64_t quota = ctl_json_int(member, "db_size_quota"), used = ctl_json_int(member, "db_size_in_use");
    int64_t behind = newest - ctl_json_int(member, "index");
    if (behind > BEHIND_MANY)
        ctl_doctor_find(d->warn, "warn",
                        "It may be catching up; if this does not shrink, look at its disk and network.",
                        "Member %s is %lld log entries behind.", name_of(member), (long long)behind);
    if (quota > 0 && used / (quota / 100 + 1) >= FULL_PERCENT)
        ctl_doctor_find(
            d->warn, "warn",
            "Delete keys or compact (cairnctl compaction), or start with a larger --quota-backend-bytes.",
            "The store of %s is %lld %% full.", name_of(member), (long long)(used / (quota / 100 + 1)));
    if (strcmp(ctl_json_text(member, "role"), "learner") == 0 && behind <= BEHIND_MANY) {
        char todo[120];
        snprintf(todo, sizeof todo, "Promote it: cairnctl member promote %s", ctl_json_text(member, "id"));
        ctl_doctor_find(d->info, "info", todo, "Member %s is a learner that has caught up.", name_of(member));
    }
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const char *error = json_string_value(json_array_get(errors, i));
        if (error && !strstr(error, "alarm") && !strstr(error, "no leader") && !strstr(error, "NOSPACE"))
            ctl_doctor_find(d->warn, "warn", "Look at its log.", "Member %s reports: %s.", name_of(member),
                            error);
    }
}

static void diagnose_members(struct diagnosis *d, const json_t *members)
{
    int64_t newest = 0;
    const char *version = NULL, *cluster = NULL;
    bool is_mixed = false, is_foreign = false;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *its = ctl_json_text(m, "version"), *of = ctl_json_text(m, "cluster_id");
        int64_t index = ctl_json_int(m, "index");
        newest = index > newest ? index : newest;
        if (!is_reachable(m))
            continue;
        is_mixed = is_mixed || (version && strcmp(version, its) != 0);
        is_foreign = is_foreign || (cluster && strcmp(cluster, of) != 0);
        version = its;
        cluster = of;
    }
    if (is_foreign)
        ctl_doctor_find(d->bad, "bad", "Compare --initial-cluster-token and the URLs they were started with.",
                        "The members belong to different clusters.");
    if (is_mixed)
        ctl_doctor_find(d->info, "info", "Finish the upgrade.", "The members run different versions.");
    for (size_t i = 0; i < json_array_size(members); i++) {
        if (is_reachable(json_array_get(members, i)))
            diagnose_member(d, json_array_get(members, i), newest);
    }
}

static void diagnose_alarms(struct diagnosis *d, const json_t *alarms)
{
    for (size_t i = 0; i < json_array_size(alarms); i++) {
        const json_t *a = json_array_get(alarms, i);
        const char *alarm = ctl_json_text(a, "alarm"), *member = ctl_json_text(a, "member");
        if (strcmp(alarm, "NOSPACE") == 0)
            ctl_doctor_find(
                d->bad, "bad",
                "Delete keys, \"cairnctl compaction REVISION\", then \"cairnctl alarm disarm\"; or a larger "
                "--quota-backend-bytes.",
                "Member %s is out of space: writes that need room are refused.", member);
        else if (strcmp(alarm, "CORRUPT") == 0)
            ctl_doctor_find(
                d->bad, "bad",
                "Find the member that differs (cairnctl endpoint hashkv --cluster), take it out, and let it "
                "join "
                "with an empty folder.",
                "Member %s has found that its data differ from the others'.", member);
    }
}

static void diagnose_services(struct diagnosis *d, const json_t *lost)
{
    for (size_t i = 0; i < json_array_size(lost); i++) {
        const json_t *s = json_array_get(lost, i);
        ctl_doctor_find(d->info, "info", "Their processes have died or cannot reach the cluster.",
                        "Of service %s %lld instances are lost: no heartbeat came in time.",
                        ctl_json_text(s, "service"), (long long)ctl_json_int(s, "instances"));
    }
}

json_t *ctl_diagnose(const json_t *facts)
{
    struct diagnosis d = {json_array(), json_array(), json_array()};
    const json_t *endpoints = ctl_json_at(facts, "endpoints"), *members = ctl_json_at(facts, "members");
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        const json_t *e = json_array_get(endpoints, i);
        ctl_doctor_find(
            json_array_size(members) ? d.warn : d.bad, json_array_size(members) ? "warn" : "bad",
            "Does cairnd run there, and is that its --listen-client-urls? --endpoints names others.",
            "The endpoint %s does not answer: %s.", ctl_json_text(e, "endpoint"), ctl_json_text(e, "error"));
    }
    diagnose_quorum(&d, members);
    diagnose_leader(&d, members);
    diagnose_members(&d, members);
    diagnose_alarms(&d, ctl_json_at(facts, "alarms"));
    diagnose_services(&d, ctl_json_at(facts, "lost"));
    if (json_is_false(ctl_json_at(facts, "auth")))
        ctl_doctor_find(
            d.info, "info", "Keep the port private, or enable authentication.",
            "Authentication is off: any client that reaches a member can read and write everything.");
    bool is_healthy = json_array_size(d.bad) == 0;
    if (is_healthy && json_array_size(d.warn) == 0)
        ctl_doctor_find(d.warn, "fine", "",
                        "All %zu members respond, agree on the leader, and have no alarm.",
                        json_array_size(members));
    json_array_extend(d.bad, d.warn);
    json_array_extend(d.bad, d.info);
    json_decref(d.warn);
    json_decref(d.info);
    return json_pack("{s:b, s:o}", "healthy", is_healthy, "findings", d.bad);
}
