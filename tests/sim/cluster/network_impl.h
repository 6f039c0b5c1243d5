/* SPDX-License-Identifier: Apache-2.0
 * Private declarations of network.c: streams, packets outside of them, notes, member RPCs. */
#ifndef TESTS_SIM_CLUSTER_NETWORK_IMPL_H
#define TESTS_SIM_CLUSTER_NETWORK_IMPL_H

#include "tests/sim/cluster/network.h"

enum { REMOTES_MAX = 64, POLL_NS = 5000000, REMOVED_MAX = 256 };

struct packet {
    struct link link; /* in its stream */
    uint64_t ready_ns;
    struct buf bytes;
};

struct stream {
    struct port *port;
    struct remote *remote;
    enum peer_stream kind;
    bool is_up;
    uint64_t target; /* the serial of the process that it is connected to */
    struct link packets;
    size_t queued;
    uint64_t up_since_ms;     /* on the sender's clock */
    uint64_t last_ns;         /* when the last packet arrives */
    uint64_t blocked_ns;      /* since when nothing gets through; 0 = it does */
    struct sim_event deliver; /* the first packet */
    struct sim_event connect; /* the next attempt */
};

struct remote {
    uint64_t id;
    unsigned slot;
    struct stream streams[PEER_STREAM_COUNT];
};

struct port {
    struct peers peers;
    struct network *network;
    struct process *process;
    const struct peer_events *events;
    void *arg;
    uint64_t cluster_id, member_id;
    struct remote *remotes[REMOTES_MAX];
    size_t remote_count;
    uint64_t removed[REMOVED_MAX];
    size_t removed_count;
    bool is_ended;
};

/* A packet outside of any stream: it arrives twice, arrives late, or its sender is dead. */
struct stray {
    struct sim_event event;
    struct network *network;
    struct link link;
    unsigned from_slot, to_slot;
    uint64_t from_id, to_serial;
    enum peer_stream kind;
    struct buf bytes;
};

/* A notification for a process. */
struct note {
    struct sim_event event;
    struct network *network;
    struct link link;
    unsigned slot;
    uint64_t serial;
    enum { NOTE_REACHABLE, NOTE_UNREACHABLE, NOTE_REMOVED } kind;
    uint64_t id;
    enum peer_stream stream;
};

struct peer_served_query {
    struct sim_event event; /* the next step: arrives, answer arrives, time-out */
    struct sim_event timeout;
    struct network *network;
    struct link link;
    uint64_t number;
    unsigned from_slot, to_slot;
    uint64_t from_serial, to_serial;
    struct buf text;
    bool is_asked, is_answered, is_canceled;
    bool is_impostor; /* from no machine; its answer goes to on_answer */
    void (*on_answer)(void *arg, struct slice answer);
    struct sim_event back; /* a dial-back is over */
    bool is_confirmed;
    void (*confirmed)(void *arg, bool is_confirmed);
    void *confirmed_arg;
    int err;
    void (*done)(void *arg, int err, struct slice answer);
    void *arg;
};

struct network {
    struct world *world;
    struct link strays, notes, questions;
    uint8_t cuts[MACHINES_MAX][MACHINES_MAX];
    uint64_t clogged_until_ns[MACHINES_MAX][MACHINES_MAX];
    uint64_t question_count;
    struct network_counts counts;
};

#endif
