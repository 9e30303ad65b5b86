/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Round robin: the next usable destination after the last one. */
#ifndef PYLVS_SCHEDULERS_RR_H
#define PYLVS_SCHEDULERS_RR_H

#include "common.h"

struct round {
	__u32 slot; /* to look at next, 0: start again at the newest */
	__u32 first;
	__u32 best;
};

static long round_visit(__u32 index, void *context)
{
	struct round *round = context;
	__u32 slot = round->slot ?: round->first;
	struct destination *destination = destination_get(slot);

	if (!destination || !slot)
		return 1;
	round->slot = destination->next;
	if (!is_usable(destination))
		return 0;
	round->best = slot;
	return 1;
}

static __always_inline __u32 rr_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	__u32 last = service->cursor >> 32;
	struct destination *destination = destination_get(last);
	struct round round = {.first = service->first, .slot = last && destination ? destination->next : 0};

	/* One round, from behind the last one to the last one itself. */
	bpf_loop(service->destinations, round_visit, &round, 0);
	if (round.best)
		service->cursor = (__u64)round.best << 32;
	return round.best;
}

/* Goes on from the one before, as ip_vs_rr_del_dest() has it. */
static __always_inline void rr_removed(struct service *service, __u32 removed, __u32 before)
{
	if (service->cursor >> 32 == removed)
		service->cursor = (__u64)before << 32;
}

#endif
