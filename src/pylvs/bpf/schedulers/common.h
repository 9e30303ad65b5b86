/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What schedulers share. A scheduler is `NAME_schedule(service, flow)`, which gives the slot of a destination or 0;
 * it walks the service's destinations from the newest to the oldest. */
#ifndef PYLVS_SCHEDULERS_COMMON_H
#define PYLVS_SCHEDULERS_COMMON_H

#include "../packet.h"

enum { DESTINATIONS_MAX = 1024 };

static __always_inline int is_usable(const struct destination *destination)
{
	return destination->weight > 0 && !(destination->flags & DEST_OVERLOAD);
}

/* Active connections cost 256 times an inactive one (ip_vs_dest_conn_overhead). */
static __always_inline __s64 connection_overhead(const struct destination *destination)
{
	return ((__s64)destination->active << 8) + destination->inactive;
}

/* By what destinations are compared: */
enum load {
	LOAD_OVERHEAD,   /* wlc: connection_overhead() for the weight */
	LOAD_UNWEIGHTED, /* lc: connection_overhead() */
	LOAD_DELAY,      /* sed: active connections with one more, for the weight */
	LOAD_IDLE_FIRST  /* nq: the same, but nothing where none is active */
};

/* What differs between them, as numbers: branches would be so many ways for the verifier to walk. */
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

/* One destination more; whether the search is over. A load of nothing is not beaten. */
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

/* Several destinations a step, as long as they are in one chunk: looking the chunk up for each was half of the cost. */
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

/* From this destination on, the one with the least load for its weight; of equals, the newest. Global: the verifier walks
 * the search once, not for each of six schedulers. */
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

/* What the kernel's hash_32(value, 8) gives: Fibonacci hashing to one of 256 (linux/hash.h). */
static __always_inline __u32 hash_to_256(__u32 value)
{
	return value * 0x61c88647U >> 24;
}

struct overloaded {
	__u32 slot;
	__u32 found;
};

static long half_idle_visit(__u32 index, void *context)
{
	struct overloaded *search = context;
	struct destination *destination = destination_get(search->slot);

	if (!destination)
		return 1;
	search->slot = destination->next;
	search->found = destination->active * 2 < destination->weight;
	return search->found || !search->slot;
}

/* lblc, lblcr: more active connections than weight, while another has less than half of its own. */
static __always_inline int is_overloaded(struct service *service, const struct destination *destination)
{
	struct overloaded search = {.slot = service->first};

	if (destination->active <= destination->weight)
		return 0;
	bpf_loop(DESTINATIONS_MAX, half_idle_visit, &search, 0);
	return search.found;
}

#endif
