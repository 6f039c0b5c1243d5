/* SPDX-License-Identifier: Apache-2.0
 * The plan of the health checks: which of them this member runs, the next time of each, and the state that
 * follows from its outcomes. Pure: changes of the catalog, outcomes, times and random numbers go in; probes
 * and writes come out.
 *
 *     waiting ──── due ───► running ──── outcome ───► waiting
 *                                          │
 *                                          └── enough outcomes for another state ──► write
 *
 *   - A worse state needs `failures` outcomes in a row that are worse than the present state, a better one
 *     `successes` that are better. Without a result (starting), a failure is worse and a success is better.
 *   - A write is given out once, and again after an outcome that still asks for it if it failed. There is no
 *     write while the state stays.
 *   - A check begins at a random time within its interval, so that a restart or a move does not run all of
 *     them at once. A check without a result begins within a second.
 *   - A TTL check is not run. Reports move its clock, and it fails when the clock has run out: see below.
 *   - A check that another member holds is not run, and its outcomes in a row are forgotten. The outcome of a
 *     probe that was under way then is ignored. */
#ifndef REGISTRY_CHECK_PLAN_H
#define REGISTRY_CHECK_PLAN_H

#include "registry/catalog.h"
#include "registry/check_share.h"

struct check_plan;

enum check_outcome { CHECK_PASS, CHECK_WARN, CHECK_FAIL };

struct check_plan *check_plan_new(const struct catalog *catalog, uint64_t member_id, uint64_t random_seed);
void check_plan_free(struct check_plan *p);

/* TTL checks.
 *
 * A report is either written, or its holder confirms it (check_plan_report): then nothing is written. The writes
 * compare the mod revision, so no failure that was decided before a written report takes effect after it.
 *
 *   clock        ttl + CHECK_LATE_MS after the last report or change of the instance. The holder judges it
 *                when the leader asks (check_plan_judge), so never while there is no leader to take reports.
 *   new holder   The clock begins with CHECK_LEASE_MS more: for so long the holder before may have confirmed
 *                reports. For as long the new holder confirms none, because the one before may fail the check.
 *   new leader   Reports were held up. Every clock begins again (check_plan_grant_grace).
 *
 * So a check does not fail while each report is answered within its ttl after the one before was sent. */
#define CHECK_LATE_MS 2000 /* the time that a report may need to the holder, beside the ttl */

/* The instance of this name was registered, changed or deregistered: the plan looks it up in the catalog.
 * Beyond checks_max instances with a check, further ones are not checked. 0 = no limit. */
void check_plan_changed(struct check_plan *p, const struct catalog_service *s, struct slice id,
                        size_t checks_max, uint64_t now_ms);
/* The division has changed, or is over. */
void check_plan_divide(struct check_plan *p, const struct check_share *share, uint64_t now_ms);

/* A report that the instance is (still) in this state. True: this member holds the check and has moved the clock. False:
 * it must be written. */
bool check_plan_report(struct check_plan *p, struct slice key, enum instance_state state, uint64_t now_ms);
/* The leader has asked, and was never silent for CHECK_LATE_MS: TTL checks whose time is over by now may fail. */
void check_plan_judge(struct check_plan *p, uint64_t now_ms);
/* Another leader has asked, or the leader after it was silent. */
void check_plan_grant_grace(struct check_plan *p, uint64_t now_ms);
/* Lets TTL checks fail, after looking at `most` clocks that have run out. True: there are more. */
bool check_plan_fail_some(struct check_plan *p, size_t most, uint64_t now_ms);

struct check_run {
    uint64_t ticket;
    const struct catalog_instance *instance; /* until the catalog's next batch */
};
/* The next check that is due; false: none now. It runs until check_plan_outcome. */
bool check_plan_next(struct check_plan *p, uint64_t now_ms, struct check_run *ret_run);
/* output is copied. A ticket that an event has superseded is ignored. */
void check_plan_outcome(struct check_plan *p, uint64_t ticket, enum check_outcome outcome, const char *output,
                        uint64_t now_ms);

struct check_write {
    uint64_t ticket;
    const struct catalog_instance *instance; /* as it is: until the catalog's next batch */
    enum instance_state result;
    bool is_deregistration; /* it was down for deregister_after */
    struct slice output;    /* until the next call */
};
/* The next write; it must compare the instance's mod revision. */
bool check_plan_next_write(struct check_plan *p, struct check_write *ret_write);
/* The write was not applied, or its outcome is not known. (One that was applied shows in the catalog.) */
void check_plan_write_failed(struct check_plan *p, uint64_t ticket);

uint64_t check_plan_wake_ms(const struct check_plan *p); /* UINT64_MAX: nothing waits */
bool check_plan_has_writes(const struct check_plan *p);
size_t check_plan_count(const struct check_plan *p); /* all checks */
size_t check_plan_held(const struct check_plan *p);  /* those that this member runs */

#endif
