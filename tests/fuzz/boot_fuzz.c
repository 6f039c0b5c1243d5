/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: bootstrap queries and answers from an unauthenticated peer. The input is a query, or the
 * answer of any process that listens on a member's address. The rules survive any answer. One answer of three
 * members makes a quorum, with which only `new` begins, and not at once. */
#include <stdlib.h>

#include "consensus/node/boot.h"
#include "consensus/node/boot_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kv_member_option three[] = {
        {"n1", "http://h1"}, {"n2", "http://h2"}, {"n3", "http://h3"}};
    static const char *const own[] = {"http://h1"};
    if (size < 1)
        return 0;
    struct boot_self self = {
        .run = 7,
        .name = "n1",
        .token = "t",
        .cluster = three,
        .cluster_count = 3,
        .peer_urls = own,
        .peer_url_count = 1,
        .is_existing = data[0] & 1,
        .auto_join = data[0] & 2,
        .is_auto = data[0] & 8,
    };
    bool may_begin = !self.is_existing && !self.is_auto && self.auto_join;
    struct slice text = slice_of(data + 1, size - 1);
    Peerpb__BootstrapQuery *question = boot_read_query(text);
    if (question)
        peerpb__bootstrap_query__free_unpacked(question, NULL);
    Peerpb__Answer *answer = boot_read_answer(text);
    if (!answer)
        return 0;
    struct boot_rules rules;
    struct boot_decision decision;
    boot_rules_init(&rules, &self);
    answer->run = 7;
    boot_rules_answer(&rules, data[0] >> 2 & 1, answer);
    for (uint64_t now = 1000; now < 10000; now += 3000) {
        boot_rules_decide(&rules, now, &decision);
        if ((decision.step == BOOT_BOOTSTRAP && (!may_begin || now < 1000 + BOOT_QUORUM_MS)) ||
            (decision.step == BOOT_REQUEST && !decision.url_count))
            abort();
    }
    answer = boot_read_answer(text); /* the first one is the rules' */
    boot_rules_outcome(&rules, &decision, answer);
    peerpb__answer__free_unpacked(answer, NULL);
    boot_rules_done(&rules);
    return 0;
}
