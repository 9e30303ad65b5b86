/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The search for the least loaded destination, which lc, wlc, sed, nq, lblc and lblcr share. */
#ifndef PYLVS_SCHEDULERS_LEAST_LOADED_H
#define PYLVS_SCHEDULERS_LEAST_LOADED_H

#include "common.h"

/* By which load destinations are compared. */
enum load {
	LOAD_OVERHEAD,   /* wlc: connection_overhead() for the weight */
	LOAD_UNWEIGHTED, /* lc: connection_overhead() */
	LOAD_DELAY,      /* sed: active connections with one more, for the weight */
	LOAD_IDLE_FIRST  /* nq: the same, but nothing where none is active */
};

/* What differs between them is a number, not a branch: the verifier would walk the search once for each combination of
 * branches. */
struct least {
	__u32 slot;
	__u32 best;
	__s64 best_load;
	__s64 best_weight; /* 0 before the first */
	__s64 per_active;
	__s64 per_inactive;
	__s64 more;
	__s64 less_if_idle;
	__s64 weight_mask; /* all ones, or 0 for a weight of 1 */
};

/* Compares one destination more; returns whether the search is over. No load is less than 0. */
static __always_inline int least_see(struct least *least, struct destination *destination)
{
	__u32 slot = least->slot;
	__s64 load, weight, idle = 1 - (__s64)(((__u64)destination->active + 0xffffffffU) >> 32);

	least->slot = destination->next;
	if (!is_usable(destination))
		return !least->slot;
	load = destination->active * least->per_active + destination->inactive * least->per_inactive + least->more -
	       idle * least->less_if_idle;
	weight = (destination->weight & least->weight_mask) | (~least->weight_mask & 1);
	if (least->best_load * weight > load * least->best_weight) {
		least->best = slot;
		least->best_load = load;
		least->best_weight = weight;
	}
	return !least->slot || !load;
}

/* Compares several destinations of one chunk a step: looking the chunk up for each was half of the cost. */
enum { DESTINATIONS_A_STEP = 8 };

static long least_visit(__u32 index, void *context)
{
	struct least *least = context;
	__u32 chunk = least->slot / CHUNK;
	void *of_chunk = bpf_map_lookup_elem(&records, &chunk);

	if (!of_chunk)
		return 1;
	for (int i = 0; i < DESTINATIONS_A_STEP; i++) {
		__u32 within = least->slot % CHUNK;
		struct destination *destination;

		if (least->slot / CHUNK != chunk)
			return 0;
		destination = bpf_map_lookup_elem(of_chunk, &within);
		if (!destination || least_see(least, destination))
			return 1;
	}
	return 0;
}

/* The destination with the least load for its weight, from the one in `first` on; of equals, the newest. Out of line:
 * the verifier walks the search once, not for each of six schedulers. */
__noinline __u32 least_loaded(__u32 first, enum load kind)
{
	int delay = kind >= LOAD_DELAY;
	struct least least = {.slot = first,
			      .best_load = 1,
			      .per_active = delay ? 1 : 256,
			      .per_inactive = !delay,
			      .more = delay,
			      .less_if_idle = kind == LOAD_IDLE_FIRST,
			      .weight_mask = kind == LOAD_UNWEIGHTED ? 0 : -1};

	bpf_loop(DESTINATIONS_MAX, least_visit, &least, 0);
	return least.best;
}

#endif
