/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locality-based least connection: an address stays with the destination that had it, unless that one is overloaded
 * while another is half idle; then the least loaded takes it over. */
#ifndef PYLVS_SCHEDULERS_LBLC_H
#define PYLVS_SCHEDULERS_LBLC_H

#include "localities.h"

static __always_inline __u32 lblc_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct locality_scratch *scratch = locality_scratch_get();
	struct locality *locality = scratch ? locality_get(scratch, service, slot, flow) : 0;

	if (locality) {
		__u32 best = locality->slot[0];
		struct destination *destination = destination_get(best);

		if (destination && is_still_there(destination, slot) && !is_overloaded(service, destination))
			return best;
	}
	return scratch ? locality_new(scratch, service, flow->now) : 0;
}

static __always_inline void lblc_changed(struct service *service, __u32 slot, int fresh)
{
	localities_changed(service, fresh);
}

static __always_inline __u32 lblc_preview(struct service *service, __u32 slot, struct flow *flow,
					  struct explain_args *args)
{
	return localities_preview(service, slot, flow, args);
}

#endif
