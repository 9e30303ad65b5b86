/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Time passes: expired connections go, and the rates are averaged. One bpf_timer does both, in slices; pinned maps keep
 * it going, no process does. */
#ifndef PYLVS_SWEEP_H
#define PYLVS_SWEEP_H

#include "connection.h"
#include "fold.h"

/* Slices a second. Every set that has something due is looked at once a second. */
enum { SLICES = 32, SLICE_NS = 1000000000 / SLICES, ESTIMATE_SECONDS = 2 };

struct sweep {
	__u32 set;
	__u32 now;
	__u32 second;
	__u32 pad;
};

static __always_inline __u32 sweep_set(struct connection_bucket *set, const struct sweep *sweep)
{
	__u32 soonest = 0;

	for (int way = 0; way < WAYS; way++) {
		struct connection *connection = &set->way[way];

		if (connection->tag < TAG_FIRST)
			continue;
		if (connection_expired(connection, sweep->now) && connection_end(connection, sweep->now, sweep->second))
			continue;
		if (!soonest || tick_before(connection->expires, soonest))
			soonest = connection->expires ?: 1;
	}
	return soonest;
}

static long sweep_visit(__u32 index, void *context)
{
	struct sweep *sweep = context;
	__u32 number = sweep->set;
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &number);
	__u32 *due_at = summary ? &summary->due : 0;
	struct connection_bucket *set;
	__u32 soonest, never;

	sweep->set = number + 1 < table_buckets ? number + 1 : 0;
	if (!due_at || !*due_at || tick_before(sweep->now, *due_at))
		return 0;
	set = connection_bucket_get(number);
	if (!set)
		return 0;
	/* First forget, then look: an entry that comes meanwhile writes its own time. "Never" is not 0, by which a
	 * listing knows the table_buckets that are empty. */
	never = (sweep->now + 0x7fffffff) ?: 1;
	__sync_lock_test_and_set(due_at, never);
	soonest = sweep_set(set, sweep);
	if (soonest)
		due_by(number, soonest);
	else
		__sync_val_compare_and_swap(due_at, never, 0);
	return 0;
}

struct estimating {
	struct clock *clock; /* its records lead to the slot; here the verifier would count along */
};

/* average += (rate - average) / 4, as the kernel's estimator has it, in units of 2^-scale a second. */
static __always_inline void average(__u64 *mean, __u64 *last, __u64 total, int scale)
{
	__u64 rate = (total - *last) << (scale - 1); /* two seconds: half of it a second */

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
	average(&own->average.connections, &own->sampled.connections, own->total.connections, 10);
	average(&own->average.in_packets, &own->sampled.in_packets, own->total.in_packets, 10);
	average(&own->average.out_packets, &own->sampled.out_packets, own->total.out_packets, 10);
	average(&own->average.in_bytes, &own->sampled.in_bytes, own->total.in_bytes, 5);
	average(&own->average.out_bytes, &own->sampled.out_bytes, own->total.out_bytes, 5);
	estimating->clock->records = slot;
	return 0;
}

/* A slice of the records; a round over all of them every two seconds. Down to the totals in slot 0, so that they come after
 * what they are the sum of. */
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

/* Looks at so many table_buckets, from `first` on; where the next sweep goes on. */
static __always_inline __u32 sweep_sets(__u32 first, __u32 count, __u32 now)
{
	struct sweep sweep = {.set = first, .now = now};

	sweep.second = settings.second;
	bpf_loop(count, sweep_visit, &sweep, 0);
	return sweep.set;
}

static int tick(void *map, int *key, struct clock *clock)
{
	__u32 now = now_ticks();

	clock->next_set = sweep_sets(clock->next_set, table_buckets / SLICES + 1, now);
	estimate_slice(clock, now);
	bpf_timer_start(&clock->timer, SLICE_NS, 0);
	return 0;
}

/* Run once, by BPF_PROG_TEST_RUN, when the data plane is loaded. */
SEC("tc")
int start_clock(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct clock *clock = bpf_map_lookup_elem(&clocks, &zero);

	if (!clock)
		return -1;
	if (bpf_timer_init(&clock->timer, &clocks, 1 /* CLOCK_MONOTONIC */) == 0)
		bpf_timer_set_callback(&clock->timer, tick);
	clock->running = 1;
	return bpf_timer_start(&clock->timer, SLICE_NS, 0);
}

#endif
