/* SPDX-License-Identifier: Apache-2.0
 * Private functions that the files of a world share: the host of a member (host.c), actions and states
 * (world.c), futures (future.c). */
#ifndef TESTS_EXPLORE_HOST_H
#define TESTS_EXPLORE_HOST_H

#include "tests/explore/world.h"

/* world.c */
struct packet *packet_new(const struct raft_message *m);
void packet_unref(struct packet *p);
struct member *world_member(struct world *w, uint32_t number); /* to be changed: no other state shares it
                                                                * any more */
void world_send(struct world *w, const struct raft_message *m);
uint64_t explore_mix_bytes(uint64_t h, const void *data, size_t size);
uint64_t explore_conf_hash(uint64_t h, const struct raft_conf_state *s);

/* host.c */
struct member *member_copy(const struct member *m);
void member_unref(struct member *m);
uint64_t member_hash(const struct member *m);
void host_start(struct world *w, uint32_t number); /* from the data on its disk */
void host_crash(struct world *w, uint32_t number);
void host_disk(struct world *w, uint32_t number);  /* the oldest batch is written */
void host_apply(struct world *w, uint32_t number); /* the oldest batch is applied */
void host_turn(struct world *w,
               uint32_t number); /* after an event: all work that follows at once; then the rules */

#endif
