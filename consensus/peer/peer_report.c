/* SPDX-License-Identifier: Apache-2.0
 * Metrics of the peer transport under etcd's names, and a limit for repeated log lines. */
#include "consensus/peer/peer_impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

/* Looks up a small table of the lines that were logged lately; when it is full, the oldest entry is
 * replaced. */
bool peer_report_may_log(struct tcp_peers *p, const char *reason, uint64_t peer)
{
    uint64_t key = hash64(reason, strlen(reason)) ^ hash64_u64(peer);
    uint64_t now = peer_now_ms(p);
    struct log_slot *oldest = &p->logged[0];
    for (size_t i = 0; i < sizeof p->logged / sizeof *p->logged; i++) {
        struct log_slot *slot = &p->logged[i];
        if (slot->key == key && now < slot->until_ms)
            return false;
        if (slot->until_ms < oldest->until_ms || slot->key == key)
            oldest = slot;
    }
    *oldest = (struct log_slot){key, now + LOG_AGAIN_MS};
    return true;
}

struct row {
    const char *name, *type, *help, *label;
    uint64_t (*value)(const struct member *m);
};

static uint64_t count_sent(const struct member *m)
{
    uint64_t n = m->sent_bytes;
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        n += m->streams[i].conn ? m->streams[i].conn->written_n : 0;
    return n;
}

static uint64_t count_received(const struct member *m)
{
    uint64_t n = m->received_bytes;
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        n += m->in[i].conn ? m->in[i].conn->received_n : 0;
    return n;
}

static uint64_t sent_failures(const struct member *m)
{
    return m->sent_failures;
}

static uint64_t received_failures(const struct member *m)
{
    return m->received_failures;
}

static uint64_t is_active(const struct member *m)
{
    return peer_stream_is_up(&m->streams[PEER_STREAM_LOG]);
}

static uint64_t is_known(const struct member *m)
{
    (void)m;
    return 1;
}

static uint64_t disconnects(const struct member *m)
{
    return m->disconnects;
}

static const struct row rows[] = {
    {"etcd_network_active_peers", "gauge", "The current number of active peer connections.", NULL, is_active},
    {"etcd_network_known_peers", "gauge", "The current number of known peers.", NULL, is_known},
    {"etcd_network_disconnected_peers_total", "counter", "The total number of disconnected peers.", NULL,
     disconnects},
    {"etcd_network_peer_sent_bytes_total", "counter", "The total number of bytes sent to peers.", "To",
     count_sent},
    {"etcd_network_peer_received_bytes_total", "counter", "The total number of bytes received from peers.",
     "From", count_received},
    {"etcd_network_peer_sent_failures_total", "counter", "The total number of send failures from peers.",
     "To", sent_failures},
    {"etcd_network_peer_received_failures_total", "counter",
     "The total number of receive failures from peers.", "From", received_failures},
};

static void print_row(struct tcp_peers *p, const struct row *row, struct buf *out)
{
    uint64_t id;
    void *value;
    char name[160];
    metric_print_head(out, row->name, row->type, row->help);
    if (row->value == is_known) { /* as etcd: a member knows itself */
        snprintf(name, sizeof name, "%s{Local=\"%" PRIx64 "\",Remote=\"%" PRIx64 "\"}", row->name, p->self,
                 p->self);
        metric_print_value(out, name, 1);
    }
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);) {
        if (row->label)
            snprintf(name, sizeof name, "%s{%s=\"%" PRIx64 "\"}", row->name, row->label, id);
        else
            snprintf(name, sizeof name, "%s{Local=\"%" PRIx64 "\",Remote=\"%" PRIx64 "\"}", row->name,
                     p->self, id);
        metric_print_value(out, name, (double)row->value(value));
    }
}

/* Prints incoming streams by proof, and refused handshakes by reason. */
static void print_proofs(struct tcp_peers *p, struct buf *out)
{
    static const char streams[] = "cairn_peer_proof", refused[] = "cairn_peer_refused_total";
    uint64_t counts[PEER_PROOF_COUNT] = {0}, id;
    void *value;
    char name[96];
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);)
        for (unsigned i = 0; i < PEER_STREAM_COUNT; i++) {
            const struct conn *c = ((struct member *)value)->in[i].conn;
            if (c)
                counts[c->handshake->proof]++;
        }
    metric_print_head(out, streams, "gauge",
                      "Streams from other members by the proof with which they were opened.");
    for (unsigned i = 0; i < PEER_PROOF_COUNT; i++) {
        snprintf(name, sizeof name, "%s{kind=\"%s\"}", streams, peer_proof_name((enum peer_proof)i));
        metric_print_value(out, name, (double)counts[i]);
    }
    metric_print_head(out, refused, "counter", "Openings of streams that were refused, by reason.");
    for (unsigned i = WIRE_WELCOME + 1; i < WIRE_REASON_COUNT; i++) {
        snprintf(name, sizeof name, "%s{reason=\"%s\"}", refused, wire_reason_name((enum wire_reason)i));
        metric_print_value(out, name, (double)p->refused[i]);
    }
}

void peer_report_metrics(void *arg, struct buf *out)
{
    static const char round_trips[] = "etcd_network_peer_round_trip_time_seconds";
    struct tcp_peers *p = arg;
    uint64_t id;
    void *value;
    char labels[40];
    print_proofs(p, out);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (p->members.count || rows[i].value == is_known)
            print_row(p, &rows[i], out);
    if (p->members.count == 0)
        return;
    metric_print_head(out, round_trips, "histogram", "Round-Trip-Time histogram between peers");
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);) {
        snprintf(labels, sizeof labels, "To=\"%" PRIx64 "\"", id);
        metric_print_histogram(out, round_trips, labels, &((struct member *)value)->round_trips, RTT_FIRST,
                               RTT_FACTOR, RTT_BUCKETS);
    }
}
