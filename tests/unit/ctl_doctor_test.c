/* SPDX-License-Identifier: Apache-2.0
 * Tests of the doctor's judgement: one sentence for each problem, and no sentence without a problem. */
#include "tests/unit/unit.h"

#include <string.h>

#include "sdk/ctl/doctor.h"
#include "sdk/ctl/show.h"

#define MEMBER(id, role, more)                                                                               \
    "{\"id\":\"" id "\",\"name\":\"n" id "\",\"reachable\":true,\"role\":\"" role                            \
    "\",\"leader\":\"1\",\"cluster_id\":\"c\","                                                              \
    "\"version\":\"3.7.1\",\"index\":100,\"db_size_in_use\":10,\"db_size_quota\":100000" more "}"
#define DOWN(id)                                                                                             \
    "{\"id\":\"" id "\",\"name\":\"n" id "\",\"endpoint\":\"http://h" id                                     \
    "\",\"reachable\":false,\"role\":\"voter\",\"error\":\"refused\"}"

static void assert_report(const char *facts_text, bool is_healthy, const char *wanted)
{
    struct buf out = {0};
    json_t *facts = json_loads(facts_text, 0, NULL); /* of two members of one name the last one counts */
    assert_non_null(facts);
    json_t *d = ctl_diagnose(facts);
    const json_t *findings = ctl_json_at(d, "findings");
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *f = json_array_get(findings, i);
        assert_int_equal(strcmp(ctl_json_text(f, "level"), "fine") != 0, *ctl_json_text(f, "do") != 0);
        buf_addf(&out, "%s: %s\n", ctl_json_text(f, "level"), ctl_json_text(f, "what"));
    }
    assert_string_equal(buf_text(&out), wanted);
    assert_int_equal(json_is_true(ctl_json_at(d, "healthy")), is_healthy);
    json_decref(d);
    json_decref(facts);
    buf_done(&out);
}

static void a_healthy_cluster(void **state)
{
    (void)state;
    assert_report("{\"members\":[" MEMBER("1", "leader", "") "," MEMBER("2", "follower", "") "," MEMBER(
                      "3", "follower", "") "],\"auth\":true}",
                  true, "fine: All 3 members respond, agree on the leader, and have no alarm.\n");
}

static void missing_members(void **state)
{
    (void)state;
    assert_report(
        "{\"members\":[" MEMBER("1", "leader", "") "," MEMBER("2", "follower", "") "," DOWN("3") "]}", true,
        "warn: Member n3 at http://h3 does not answer: refused.\n"
        "warn: 2 of 3 voting members answer: one more loss and nothing can be written.\n");
    assert_report(
        "{\"members\":[{\"id\":\"1\",\"name\":\"n1\",\"reachable\":true,\"role\":\"follower\"}," DOWN(
            "2") "," DOWN("3") "]}",
        false,
        "bad: Only 1 of 3 voting members answer and 2 are needed: nothing can be written.\n"
        "bad: No member knows a leader.\n"
        "warn: Member n2 at http://h2 does not answer: refused.\nwarn: Member n3 at http://h3 does not "
        "answer: refused.\n");
    assert_report("{\"endpoints\":[{\"endpoint\":\"h:1\",\"error\":\"refused\"}]}", false,
                  "bad: The endpoint h:1 does not answer: refused.\n");
    assert_report(
        "{\"members\":[" MEMBER("1", "leader", "") ",{\"id\":\"2\",\"name\":\"\",\"peer_url\":\"http://"
                                                   "p\",\"reachable\":false,\"role\":\"learner\"}]}",
        true,
        "warn: Member 2 (http://p) was added and has never been started.\n"
        "info: There is one voting member: when it is down, so is the service.\n");
}

static void lines_about_members(void **state)
{
    (void)state;
    assert_report(
        "{\"members\":[" MEMBER("1", "leader", "") "," MEMBER("2", "learner", "") "," MEMBER(
            "3", "follower", ",\"leader\":\"3\"") "]}",
        true,
        "warn: The members do not agree on the leader.\ninfo: 2 voting members survive no more losses than 1 "
        "would.\n"
        "info: Member n2 is a learner that has caught up.\n");
    assert_report(
        "{\"members\":[" MEMBER("1", "leader", ",\"index\":9000") "," MEMBER(
            "2", "follower", ",\"db_size_in_use\":90000") "," MEMBER("3", "follower",
                                                                     ",\"index\":8999,\"errors\":[\"disk is "
                                                                     "slow\"],\"version\":\"3.8.0\"") "]}",
        true,
        "warn: Member n2 is 8900 log entries behind.\nwarn: The store of n2 is 89 % full.\nwarn: Member n3 "
        "reports: disk is slow.\n"
        "info: The members run different versions.\n");
    assert_report("{\"members\":[" MEMBER("1", "leader", "") "," MEMBER(
                      "2", "follower", ",\"cluster_id\":\"d\"") "," MEMBER("3", "follower", "") "]}",
                  false, "bad: The members belong to different clusters.\n");
}

static void alarms_and_services(void **state)
{
    (void)state;
    assert_report(
        "{\"members\":[" MEMBER("1", "leader", "") "," MEMBER("2", "follower", "") "," MEMBER(
            "3", "follower", "") "],\"auth\":false,"
                                 "\"alarms\":[{\"member\":\"1\",\"alarm\":\"NOSPACE\"},{\"member\":\"2\","
                                 "\"alarm\":\"CORRUPT\"}],\"lost\":[{\"service\":\"web\",\"instances\":2}]}",
        false,
        "bad: Member 1 is out of space: writes that need room are refused.\n"
        "bad: Member 2 has found that its data differ from the others'.\n"
        "info: Of service web 2 instances are lost: no heartbeat came in time.\n"
        "info: Authentication is off: any client that reaches a member can read and write everything.\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_cluster),
        cmocka_unit_test(missing_members),
        cmocka_unit_test(lines_about_members),
        cmocka_unit_test(alarms_and_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
