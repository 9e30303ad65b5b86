/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What schedulers share. A scheduler is `NAME_schedule(service, flow)`, which gives the slot of a destination or 0;
 * it walks the service's destinations from the newest to the oldest. */
#ifndef PYLVS_SCHEDULERS_COMMON_H
#define PYLVS_SCHEDULERS_COMMON_H

#include "../packet.h"

enum { DESTINATIONS_MAX = 1024 };

inline_always int is_usable(const struct destination *destination)
{
	return destination->weight > 0 && !(destination->flags & DEST_OVERLOAD);
}

/* Active connections cost 256 times an inactive one (ip_vs_dest_conn_overhead). */
inline_always __s64 connection_overhead(const struct destination *destination)
{
	return ((__s64)destination->active << 8) + destination->inactive;
}

/* sed and nq: what the delay would be with one more, inactive ones ignored. */
inline_always __s64 expected_delay(const struct destination *destination)
{
	return (__s64)destination->active + 1;
}

enum load { LOAD_OVERHEAD, LOAD_UNWEIGHTED, LOAD_DELAY, LOAD_IDLE_FIRST };

struct least {
	__u32 slot;
	__u32 best;
	__s64 best_load;
	__s64 best_weight;
	__u32 kind;
};

/* One destination more; whether the search is over. */
inline_always int least_see(struct least *least, struct destination *destination)
{
	__u32 slot = least->slot;
	__s64 load, weight;

	least->slot = destination->next;
	if (!is_usable(destination))
		return !least->slot;
	load = least->kind >= LOAD_DELAY ? expected_delay(destination) : connection_overhead(destination);
	weight = least->kind == LOAD_UNWEIGHTED ? 1 : destination->weight;
	if (!least->best || least->best_load * weight > load * least->best_weight) {
		least->best = slot;
		least->best_load = load;
		least->best_weight = weight;
	}
	if (least->kind == LOAD_IDLE_FIRST && !destination->active) {
		least->best = slot;
		return 1;
	}
	return !least->slot;
}

/* Several destinations a step, as long as they are in one chunk: looking the chunk up for each was half of the cost. */
enum { AT_A_STEP = 8 };

static long least_visit(__u32 index, void *context)
{
	struct least *least = context;
	__u32 chunk = least->slot / CHUNK;
	void *of_chunk = bpf_map_lookup_elem(&records, &chunk);

	if (!of_chunk)
		return 1;
	for (int i = 0; i < AT_A_STEP; i++) {
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

/* The destination with the least load for its weight; of equals, the newest. */
inline_always __u32 least_loaded(struct service *service, enum load kind)
{
	struct least least = {.slot = service->first, .kind = kind};

	bpf_loop(DESTINATIONS_MAX, least_visit, &least, 0);
	return least.best;
}

/* What the kernel's hash_32(value, 8) gives: Fibonacci hashing to one of 256 (linux/hash.h). */
inline_always __u32 hash_to_256(__u32 value)
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
inline_always int is_overloaded(struct service *service, const struct destination *destination)
{
	struct overloaded search = {.slot = service->first};

	if (destination->active <= destination->weight)
		return 0;
	bpf_loop(DESTINATIONS_MAX, half_idle_visit, &search, 0);
	return search.found;
}

#endif
