/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locality-based least connection: an address stays with the destination that had it, unless that one is overloaded
 * while another is half idle; then the least loaded takes it over. */
#ifndef PYLVS_SCHEDULERS_LBLC_H
#define PYLVS_SCHEDULERS_LBLC_H

#include "common.h"

inline_always __u32 lblc_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct cached_key key = {.address = flow->daddr, .service = slot};
	struct cached *cached = bpf_map_lookup_elem(&localities, &key);
	struct cached new = {.count = 1, .changed = flow->now};

	if (cached) {
		__u32 best = cached->slot[0];
		struct destination *destination = destination_get(best);

		if (destination && destination->service == slot && destination->flags & DEST_AVAILABLE &&
		    destination->weight > 0 && !is_overloaded(service, destination))
			return best;
	}
	new.slot[0] = least_loaded(service, LOAD_OVERHEAD);
	if (new.slot[0])
		bpf_map_update_elem(&localities, &key, &new, BPF_ANY);
	return new.slot[0];
}

#endif
