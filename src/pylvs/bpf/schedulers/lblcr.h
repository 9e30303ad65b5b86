/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* lblc with replication: an address has a set of destinations, the least loaded of which serves it. The set grows when that
 * one is overloaded, and loses its most loaded one when it has not changed for a day. */
#ifndef PYLVS_SCHEDULERS_LBLCR_H
#define PYLVS_SCHEDULERS_LBLCR_H

#include "lblc.h"

enum { LBLCR_EXPIRATION = 24 * 60 * 60 };

struct members {
	struct cached *cached;
	__u32 service;
	__u32 most;  /* look for the most loaded instead */
	__u32 best;  /* slot */
	__u32 place; /* of it in the set */
	__s64 load;
	__s64 weight;
};

static long members_visit(__u32 index, void *context)
{
	struct members *members = context;
	__u32 place = bounded(CACHED_MAX - 1 - index, CACHED_MAX - 1); /* the newest first */
	__u32 slot = members->cached->slot[place];
	struct destination *destination = destination_get(slot);
	__s64 load, weight;

	if (!slot || !destination || destination->service != members->service ||
	    !(destination->flags & DEST_AVAILABLE) || destination->weight <= 0)
		return 0;
	if (!members->most && destination->flags & DEST_OVERLOAD)
		return 0;
	load = connection_overhead(destination);
	weight = destination->weight;
	if (members->best && members->most ? members->load * weight >= load * members->weight
					   : members->best && members->load * weight <= load * members->weight)
		return 0;
	members->best = slot;
	members->place = place;
	members->load = load;
	members->weight = weight;
	return 0;
}

/* Puts a destination into the set, at the end, if there is room and it is not in it. */
static __always_inline void members_insert(struct cached *cached, __u32 slot, __u32 now)
{
	for (__u32 i = 0; i < CACHED_MAX; i++) {
		if (cached->slot[i] == slot)
			return;
	}
	if (cached->count >= CACHED_MAX)
		return;
	cached->slot[bounded(cached->count, CACHED_MAX - 1)] = slot;
	cached->count++;
	cached->changed = now;
}

static __always_inline void members_drop_most_loaded(struct cached *cached, __u32 slot_of_service)
{
	struct members members = {.cached = cached, .service = slot_of_service, .most = 1};

	bpf_loop(CACHED_MAX, members_visit, &members, 0);
	if (!members.best)
		return;
	for (__u32 i = 0; i < CACHED_MAX - 1; i++) {
		if (i >= members.place)
			cached->slot[i] = cached->slot[i + 1];
	}
	cached->slot[CACHED_MAX - 1] = 0;
	cached->count--;
}

static __always_inline __u32 lblcr_schedule(struct service *service, __u32 slot, struct flow *flow, __u32 second)
{
	struct scratch *scratch = scratch_get();
	struct cached *cached = scratch ? locality_get(scratch, slot, flow) : 0;
	struct members members = {.cached = cached, .service = slot};

	if (!cached)
		return scratch ? locality_new(service, scratch, flow->now) : 0;
	bpf_loop(CACHED_MAX, members_visit, &members, 0);
	if (cached->count > 1 && tick_before(cached->changed + LBLCR_EXPIRATION * second, flow->now))
		members_drop_most_loaded(cached, slot);
	if (members.best) {
		struct destination *destination = destination_get(members.best);

		if (destination && !is_overloaded(service, destination))
			return members.best;
	}
	members.best = least_loaded(service->first, LOAD_OVERHEAD);
	if (members.best)
		members_insert(cached, members.best, flow->now);
	return members.best;
}

#endif
