/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locality-based least connection: an address stays with the destination that had it, unless that one is overloaded
 * while another is half idle; then the least loaded takes it over. */
#ifndef PYLVS_SCHEDULERS_LBLC_H
#define PYLVS_SCHEDULERS_LBLC_H

#include "common.h"

/* Remembers the least loaded destination for this address, if there is one. */
static __always_inline __u32 locality_new(struct service *service, struct scratch *scratch, __u32 now)
{
	struct cached *fresh = &scratch->cached;

	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->count = 1;
	fresh->changed = now;
	fresh->slot[0] = least_loaded(service->first, LOAD_OVERHEAD);
	if (fresh->slot[0])
		bpf_map_update_elem(&localities, &scratch->cached_key, fresh, BPF_ANY);
	return fresh->slot[0];
}

static __always_inline struct cached *locality_get(struct scratch *scratch, __u32 slot_of_service,
						   const struct flow *flow)
{
	scratch->cached_key.address = flow->daddr;
	scratch->cached_key.service = slot_of_service;
	scratch->cached_key.spare = 0;
	return bpf_map_lookup_elem(&localities, &scratch->cached_key);
}

static __always_inline __u32 lblc_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct scratch *scratch = scratch_get();
	struct cached *cached = scratch ? locality_get(scratch, slot, flow) : 0;

	if (cached) {
		__u32 best = cached->slot[0];
		struct destination *destination = destination_get(best);

		if (destination && destination->service == slot && destination->flags & DEST_AVAILABLE &&
		    destination->weight > 0 && !is_overloaded(service, destination))
			return best;
	}
	return scratch ? locality_new(service, scratch, flow->now) : 0;
}

#endif
