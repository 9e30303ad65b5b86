/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locality-based least connection with replication: an address has a set of destinations, the least loaded of which
 * serves it. The set grows when that one is overloaded, and loses its most loaded one when it has not changed for a
 * day. */
#ifndef PYLVS_SCHEDULERS_LBLCR_H
#define PYLVS_SCHEDULERS_LBLCR_H

#include "localities.h"

enum { LBLCR_EXPIRATION = 24 * 60 * 60 }; /* seconds */

struct members {
	struct locality *locality;
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
	__u32 place = bounded(LOCALITY_MAX - 1 - index, LOCALITY_MAX - 1); /* the newest first */
	__u32 slot = members->locality->slot[place];
	struct destination *destination = destination_get(slot);
	__s64 load, weight;

	if (!slot || !destination || !is_still_there(destination, members->service))
		return 0;
	if (!members->most && (destination->flags & DEST_OVERLOAD))
		return 0;
	load = connection_overhead(destination);
	weight = destination->weight;
	if ((members->best && members->most) ? members->load * weight >= load * members->weight
					     : (members->best && members->load * weight <= load * members->weight))
		return 0;
	members->best = slot;
	members->place = place;
	members->load = load;
	members->weight = weight;
	return 0;
}

/* Adds a destination at the end of the set, if there is room and it is not in it. */
static __always_inline void members_insert(struct locality *locality, __u32 slot, __u32 now)
{
	for (__u32 i = 0; i < LOCALITY_MAX; i++) {
		if (locality->slot[i] == slot)
			return;
	}
	if (locality->count >= LOCALITY_MAX)
		return;
	locality->slot[bounded(locality->count, LOCALITY_MAX - 1)] = slot;
	locality->count++;
	locality->changed = now;
}

static __always_inline void members_drop_most_loaded(struct locality *locality, __u32 slot_of_service)
{
	struct members members = {.locality = locality, .service = slot_of_service, .most = 1};

	bpf_loop(LOCALITY_MAX, members_visit, &members, 0);
	if (!members.best)
		return;
	for (__u32 i = 0; i < LOCALITY_MAX - 1; i++) {
		if (i >= members.place)
			locality->slot[i] = locality->slot[i + 1];
	}
	locality->slot[LOCALITY_MAX - 1] = 0;
	locality->count--;
}

static __always_inline __u32 lblcr_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct locality_scratch *scratch = locality_scratch_get();
	struct locality *locality = scratch ? locality_get(scratch, service, slot, flow) : 0;
	struct members members = {.locality = locality, .service = slot};

	if (!locality)
		return scratch ? locality_new(scratch, service, flow->now) : 0;
	bpf_loop(LOCALITY_MAX, members_visit, &members, 0);
	if (locality->count > 1 && tick_before(locality->changed + LBLCR_EXPIRATION * settings.second, flow->now))
		members_drop_most_loaded(locality, slot);
	if (members.best) {
		struct destination *destination = destination_get(members.best);

		if (destination && !is_overloaded(service, destination))
			return members.best;
	}
	members.best = least_loaded(service->first, LOAD_OVERHEAD);
	if (members.best)
		members_insert(locality, members.best, flow->now);
	return members.best;
}

static __always_inline void lblcr_changed(struct service *service, __u32 slot, int fresh)
{
	localities_changed(service, fresh);
}

static __always_inline __u32 lblcr_preview(struct service *service, __u32 slot, struct flow *flow,
					   struct explain_args *args)
{
	return localities_preview(service, slot, flow, args);
}

#endif
