/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locality-based least connection: an address stays with the destination that had it, unless that one is overloaded
 * while another is half idle; then the least loaded takes it over. */
#ifndef PYLVS_SCHEDULERS_LBLC_H
#define PYLVS_SCHEDULERS_LBLC_H

#include "common.h"

/* Remembers the least loaded destination for this address, if there is one. */
inline_always __u32 locality_new(struct service *service, struct desk *desk, __u32 now)
{
	struct cached *fresh = &desk->cached;

	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->count = 1;
	fresh->changed = now;
	fresh->slot[0] = least_loaded(service->first, LOAD_OVERHEAD);
	if (fresh->slot[0])
		bpf_map_update_elem(&localities, &desk->cached_key, fresh, BPF_ANY);
	return fresh->slot[0];
}

inline_always struct cached *locality_get(struct desk *desk, __u32 slot_of_service, const struct flow *flow)
{
	desk->cached_key.address = flow->daddr;
	desk->cached_key.service = slot_of_service;
	desk->cached_key.spare = 0;
	return bpf_map_lookup_elem(&localities, &desk->cached_key);
}

inline_always __u32 lblc_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct desk *desk = desk_get();
	struct cached *cached = desk ? locality_get(desk, slot, flow) : 0;

	if (cached) {
		__u32 best = cached->slot[0];
		struct destination *destination = destination_get(best);

		if (destination && destination->service == slot && destination->flags & DEST_AVAILABLE &&
		    destination->weight > 0 && !is_overloaded(service, destination))
			return best;
	}
	return desk ? locality_new(service, desk, flow->now) : 0;
}

#endif
