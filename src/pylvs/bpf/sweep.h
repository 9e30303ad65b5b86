/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What happens as time passes: expired connections end, and rates are averaged.
 *
 * 1. One bpf_timer runs 32 times a second. Pinned maps keep it running; no process has to.
 * 2. Each time it looks at the next 1/32 of the buckets: not at the entries, but at when the soonest of a bucket
 *    expires (`due` of table.h). Where that is past it ends what has expired.
 * 3. Every two seconds it starts a round over all records, in slices as well: folds their counters (fold.h) and
 *    averages their rates as the kernel's estimator does (ip_vs_est.c). */
#ifndef PYLVS_SWEEP_H
#define PYLVS_SWEEP_H

#include "connection.h"
#include "fold.h"

enum { SLICES = 32, SLICE_NS = 1000000000 / SLICES, ESTIMATE_SECONDS = 2 }; /* slices a second */
enum { RATE_SCALE = 10, BYTE_RATE_SCALE = 5, CLOCK_MONOTONIC = 1 };
enum { NEVER = 0x7fffffff }; /* ticks from now: as far as a tick can lie ahead */

struct clock {
	struct bpf_timer timer;
	__u32 next_bucket;   /* where the next sweep starts */
	__u32 last_estimate; /* tick */
	__u32 records;       /* that this round of the estimator still has to do */
	__u32 running;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clock);
} clocks SEC(".maps");

struct sweep {
	__u32 bucket;
	__u32 now;
};

static __always_inline __u32 sweep_bucket(struct connection_bucket *bucket, const struct sweep *sweep)
{
	__u32 soonest = 0;

	for (int way = 0; way < WAYS; way++) {
		struct connection *connection = &bucket->way[way];
		union entry_word word = entry_word(connection);

		if (word.tag < TAG_FIRST)
			continue;
		if (connection_expired(connection, sweep->now) && connection_end(connection, word.all, sweep->now, 0))
			continue;
		if (!soonest || tick_before(connection->expires, soonest))
			soonest = connection->expires ?: 1;
	}
	return soonest;
}

static long sweep_visit(__u32 index, void *context)
{
	struct sweep *sweep = context;
	__u32 number = sweep->bucket;
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &number);
	__u32 *due_at = summary ? &summary->due : 0;
	struct connection_bucket *bucket;
	__u32 soonest, never;

	sweep->bucket = number + 1 < table_buckets ? number + 1 : 0;
	if (!due_at || !*due_at || tick_before(sweep->now, *due_at))
		return 0;
	bucket = bucket_get(number);
	if (!bucket)
		return 0;
	/* First write "never", then look: an entry that is published meanwhile writes its own time. Never is not 0, since
	 * a listing takes a bucket of 0 for empty. */
	never = (sweep->now + NEVER) ?: 1;
	__sync_lock_test_and_set(due_at, never);
	soonest = sweep_bucket(bucket, sweep);
	if (soonest)
		due_by(number, soonest);
	else
		__sync_val_compare_and_swap(due_at, never, 0);
	return 0;
}

struct estimating {
	struct clock *clock; /* whose `records` counts: the verifier would follow a counter on the stack */
};

/* average += (rate - average) / 4, in units of 2^-scale a second. */
static __always_inline void average(__u64 *mean, __u64 *last, __u64 total, int scale)
{
	__u64 rate = (total - *last) << (scale - 1); /* of two seconds */

	*last = total;
	*mean += (__s64)(rate - *mean) >> 2;
}

static long estimate_visit(__u32 index, void *context)
{
	struct estimating *estimating = context;
	__u32 slot = estimating->clock->records - 1;
	struct estimate *own;

	fold(slot);
	own = estimate_get(slot);
	if (!own)
		return 1;
	average(&own->average.connections, &own->sampled.connections, own->total.connections, RATE_SCALE);
	average(&own->average.in_packets, &own->sampled.in_packets, own->total.in_packets, RATE_SCALE);
	average(&own->average.out_packets, &own->sampled.out_packets, own->total.out_packets, RATE_SCALE);
	average(&own->average.in_bytes, &own->sampled.in_bytes, own->total.in_bytes, BYTE_RATE_SCALE);
	average(&own->average.out_bytes, &own->sampled.out_bytes, own->total.out_bytes, BYTE_RATE_SCALE);
	estimating->clock->records = slot;
	return 0;
}

/* Averages a slice of the records. A round goes down to the totals in slot 0, which so come after what they are the
 * sum of. */
static __always_inline void estimate_slice(struct clock *clock, __u32 now)
{
	__u32 slice = settings.next_record / SLICES + 1;
	struct estimating estimating = {.clock = clock};

	if (!clock->records) {
		if (tick_before(now, clock->last_estimate + ESTIMATE_SECONDS * settings.second))
			return;
		clock->last_estimate = now;
		clock->records = settings.next_record;
	}
	bpf_loop(clock->records < slice ? clock->records : slice, estimate_visit, &estimating, 0);
}

/* Sweeps `count` buckets from `first` on; returns where the next sweep starts. */
static __always_inline __u32 sweep_buckets(__u32 first, __u32 count, __u32 now)
{
	struct sweep sweep = {.bucket = first, .now = now};

	bpf_loop(count, sweep_visit, &sweep, 0);
	return sweep.bucket;
}

static int tick(void *map, int *key, struct clock *clock)
{
	__u32 now = now_ticks();

	clock->next_bucket = sweep_buckets(clock->next_bucket, table_buckets / SLICES + 1, now);
	estimate_slice(clock, now);
	bpf_timer_start(&clock->timer, SLICE_NS, 0);
	return 0;
}

/* Starts the timer. Run once, by BPF_PROG_TEST_RUN, when the data plane is loaded. */
SEC("tc")
int start_clock(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct clock *clock = bpf_map_lookup_elem(&clocks, &zero);

	if (!clock)
		return -1;
	if (bpf_timer_init(&clock->timer, &clocks, CLOCK_MONOTONIC) == 0)
		bpf_timer_set_callback(&clock->timer, tick);
	clock->running = 1;
	return bpf_timer_start(&clock->timer, SLICE_NS, 0);
}

#endif
