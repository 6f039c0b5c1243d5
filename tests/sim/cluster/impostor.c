/* SPDX-License-Identifier: Apache-2.0
 * Impostors; see impostor.h. At drawn times one of these attacks a running member that is drawn:
 *
 *   a stream   opened with another member's id: without a MAC, with a random MAC, or with a MAC that was
 *              recorded from that member's own opening to the same member. Production's own rules and MACs
 *              (consensus/peer/peer_proof.h) judge it. After a success it sends a raft message as that
 *              member.
 *   a query    CLAIM, REPLACE or ADD in a member's name. The running member answers it like any other query;
 *              no recorded URL confirms it.
 *
 * Not here: sockets and dial-backs of streams (tests/unit/peer_handshake_test.c). */
#include "tests/sim/cluster/impostor.h"

#include <inttypes.h>

#include "consensus/kv/kv_impl.h"
#include "consensus/node/boot.h"
#include "consensus/peer/codec.h"
#include "consensus/peer/peer_wire.h"
#include "tests/sim/cluster/cluster.h"
#include "tests/sim/cluster/network.h"

enum { PAUSE_MIN_MS = 200, PAUSE_MAX_MS = 1500 };

#define TOKEN "the token that all members of the simulation have"

struct impostor {
    struct world *world;
    struct sim_event act;
    uint64_t random; /* a generator of its own: its draws change no fault */
    struct proof_tokens tokens;
};

static void fill(struct impostor *i, uint8_t *bytes)
{
    for (size_t at = 0; at < PROOF_NONCE_SIZE; at += 8)
        put_le64(bytes + at, world_draw(&i->random, 0, UINT64_MAX - 1));
}

/* --- streams ------------------------------------------------------------------------------------------- */
/* Acknowledges entries that the member does not hold. */
static void speak(struct impostor *i, struct process *p, uint64_t from)
{
    struct raft_message m = {.type = RAFT_MSG_APP_RESP,
                             .to = kv_member_id(p->kv),
                             .from = from,
                             .term = p->kv->state.term,
                             .index = p->kv->state.last_index};
    struct buf bytes = {0};
    codec_add_raft(&bytes, &m);
    network_say_as_impostor(i->world->network, p, from, buf_slice(&bytes));
    buf_done(&bytes);
}

static void open_stream(struct impostor *i, struct process *p, uint64_t victim)
{
    uint8_t dialer[PROOF_NONCE_SIZE], old[PROOF_NONCE_SIZE], dialed[PROOF_NONCE_SIZE],
        mac[PROOF_MAC_SIZE] = {0};
    fill(i, dialer);
    fill(i, old);
    fill(i, dialed);
    struct proof_handshake o = {.version = WIRE_VERSION,
                                .cluster_id = kv_cluster_id(p->kv),
                                .from = victim,
                                .to = kv_member_id(p->kv),
                                .run = 1,
                                .number = 1,
                                .dialer_nonce = dialer,
                                .dialed_nonce = old};
    uint64_t how = world_draw(&i->random, 0, 2);
    if (how == 1)
        fill(i, mac);
    else if (how == 2)
        proof_tokens_mac(&i->tokens, PROOF_DIALER, &o, mac); /* recorded: the nonce is from an earlier run */
    o.dialed_nonce = dialed;
    enum peer_proof shown =
        how && proof_tokens_match(&i->tokens, PROOF_DIALER, &o, mac) ? PEER_PROOF_TOKEN : PEER_PROOF_NONE;
    bool is_required = world_draw(&i->random, 0, 1);
    if (peer_proof_judge(PEER_OPEN_STREAM, shown, is_required) != PEER_ACCEPT)
        return;
    speak(i, p, victim);
    world_violated(i->world, "impostor_is_refused", "a stream as member %" PRIx64 " was opened %s", victim,
                   how == 0   ? "without a proof"
                   : how == 1 ? "with a MAC by chance"
                              : "with a recorded MAC");
}

/* --- queries ------------------------------------------------------------------------------------------- */
static void on_answer(void *arg, struct slice text)
{
    struct impostor *i = arg;
    Peerpb__Answer *a = boot_read_answer(text);
    if (a && a->outcome == PEERPB__ANSWER__OUTCOME__DONE)
        world_violated(i->world, "impostor_is_refused", "a query without a proof was granted");
    if (a)
        peerpb__answer__free_unpacked(a, NULL);
}

static void query(struct impostor *i, struct process *p, uint64_t victim)
{
    static char name[] = "impostor", anywhere[] = "http://impostor:2380";
    char *urls[1] = {anywhere};
    const struct member *m = member_find(&p->kv->members, victim);
    Peerpb__BootstrapQuery q = PEERPB__BOOTSTRAP_QUERY__INIT;
    struct buf text = {0};
    q.kind = (Peerpb__BootstrapQuery__Kind)world_draw(&i->random, PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM,
                                                      PEERPB__BOOTSTRAP_QUERY__KIND__ADD);
    q.run = world_draw(&i->random, 1, UINT64_MAX - 1);
    q.name = name;
    q.cluster_id = kv_cluster_id(p->kv);
    q.member_id = victim;
    q.level = kv_feature_level(p->kv); /* an older level would be refused for that */
    if (m && m->peer_url_count && q.kind != PEERPB__BOOTSTRAP_QUERY__KIND__ADD)
        urls[0] = m->peer_urls[0];
    q.n_peer_urls = 1;
    q.peer_urls = urls;
    boot_write(&text, &q.base);
    network_ask_as_impostor(i->world->network, p, buf_slice(&text), on_answer, i);
    buf_done(&text);
}

/* --- one act after the other ------------------------------------------------------------------------ */
static void on_act(struct sim_event *event)
{
    struct impostor *i = container_of(event, struct impostor, act);
    struct world *w = i->world;
    struct process *p = w->machines[world_draw(&i->random, 0, w->machine_count - 1)]->process;
    if (p && network_may_be_asked(p) && p->kv) {
        uint64_t victim = network_peer_of(p, world_draw(&i->random, 0, 1000));
        if (victim && world_draw(&i->random, 0, 1))
            open_stream(i, p, victim);
        else
            query(i, p, victim);
    }
    sim_clock_add(&w->clock, event, world_draw(&i->random, PAUSE_MIN_MS, PAUSE_MAX_MS) * 1000000);
}

struct impostor *impostor_new(struct world *w)
{
    struct impostor *i = mem_new(sizeof *i);
    char error[200];
    i->world = w;
    i->random = w->plan.seed * 19 + 5;
    i->act.fire = on_act;
    (void)!proof_tokens_parse(slice_text(TOKEN), &i->tokens, error, sizeof error);
    return i;
}

void impostor_start(struct impostor *i)
{
    sim_clock_add(&i->world->clock, &i->act, PAUSE_MAX_MS * UINT64_C(1000000));
}

void impostor_free(struct impostor *i)
{
    sim_clock_remove(&i->world->clock, &i->act);
    proof_tokens_free(&i->tokens);
    mem_free(i);
}
