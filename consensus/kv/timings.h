/* SPDX-License-Identifier: Apache-2.0
 * Durations for etcd's histograms: of requests, of applied entries, of ranges (timings.c). The clock is read once
 * for each entry, and once for some reads: an observation may be a few microseconds too short or too long. */
#ifndef CONSENSUS_KV_TIMINGS_H
#define CONSENSUS_KV_TIMINGS_H

#include "consensus/entry.h"
#include "consensus/kv.h"

struct kv_timings {
    uint64_t now_ns;    /* the clock as it was last read */
    uint64_t entry_ns;  /* the entry that is applied began here */
    uint64_t reads_ns;  /* the ranges that are not observed yet began here */
    unsigned ranges[2]; /* since then: those that failed, those that succeeded */
    size_t chained;     /* so many of the next entries follow each other at once */
};

/* Reads the clock. */
uint64_t kv_clock_ns(struct kv *kv);
/* The next `count` entries are applied one after the other: the end of one is the begin of the next. */
void kv_time_chain(struct kv *kv, size_t count);
/* An entry is about to be applied; it ends with kv_time_apply. */
void kv_time_entry(struct kv *kv);
void kv_time_apply(struct kv *kv, enum entry_op op, int err);
/* An entry that takes many turns: when it began, and that moment before its kv_time_apply. */
uint64_t kv_time_entry_begin(const struct kv *kv);
void kv_time_entry_resume(struct kv *kv, uint64_t begin_ns);
/* The request ends; one whose start was not noted, and one that is none of etcd's, is not counted. */
void kv_time_request(struct kv *kv, struct kv_request *r, bool is_success);
/* Reads that run together share the time between two readings of the clock. */
void kv_time_reads_begin(struct kv *kv, uint64_t now_ns);
void kv_time_reads_note(struct kv *kv, uint64_t now_ns);
void kv_time_reads_end(struct kv *kv);
void kv_time_range(struct kv *kv, bool is_success); /* one of them */
void kv_time_long_range(struct kv *kv, uint64_t begin_ns, bool is_success);

#endif
