/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The search for the usable destination of the highest weight, which fo and ovf share. */
#ifndef PYLVS_SCHEDULERS_HEAVIEST_H
#define PYLVS_SCHEDULERS_HEAVIEST_H

#include "common.h"

struct heaviest {
	__u32 slot;
	__u32 best;
	__s32 weight;
	__u32 spill; /* leave out those with more active connections than weight */
};

static long heaviest_visit(__u32 index, void *context)
{
	struct heaviest *heaviest = context;
	__u32 slot = heaviest->slot;
	struct destination *destination = destination_get(slot);

	if (!destination)
		return 1;
	heaviest->slot = destination->next;
	if (is_usable(destination) && destination->weight > heaviest->weight &&
	    !(heaviest->spill && destination->active > destination->weight)) {
		heaviest->best = slot;
		heaviest->weight = destination->weight;
	}
	return !heaviest->slot;
}

/* Of equals, the newest. */
static __always_inline __u32 heaviest_usable(struct service *service, __u32 spill)
{
	struct heaviest heaviest = {.slot = service->first, .spill = spill};

	bpf_loop(DESTINATIONS_MAX, heaviest_visit, &heaviest, 0);
	return heaviest.best;
}

#endif
