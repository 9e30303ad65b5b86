/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Weighted round robin, interleaved: rounds over the destinations at a current weight that sinks from the highest
 * weight by the greatest common divisor; whoever weighs at least that much has a turn. Cursor and current weight are
 * one word, which moves by compare-and-swap: no two CPUs take the same turn. */
#ifndef PYLVS_SCHEDULERS_WRR_H
#define PYLVS_SCHEDULERS_WRR_H

#include "survey.h"

struct wrr {
	__u32 slot; /* to look at next, 0: this round is over */
	__u32 first;
	__u32 stop; /* the last round ends here */
	__s32 current;
	__s32 gcd;
	__s32 max;
	__u32 best;
	__u32 last;
	__u8 restarted;
	__u8 over;
};

/* The end of a round: the weight sinks, or starts again from the top. */
static __always_inline int wrr_next_round(struct wrr *wrr)
{
	int last_round;

	wrr->current -= wrr->gcd;
	if (wrr->current <= 0) {
		wrr->current = wrr->max;
		if (wrr->over || !wrr->last)
			return 0;
		wrr->restarted = 1;
	}
	last_round = wrr->restarted && wrr->current <= wrr->gcd;
	wrr->over = last_round;
	if (last_round && wrr->last)
		wrr->stop = wrr->last;
	wrr->slot = wrr->first;
	return 1;
}

static long wrr_visit(__u32 index, void *context)
{
	struct wrr *wrr = context;
	struct destination *destination;
	__u32 slot;

	if (!wrr->slot && !wrr_next_round(wrr))
		return 1;
	slot = wrr->slot;
	destination = destination_get(slot);
	if (!slot || !destination)
		return 1;
	wrr->slot = destination->next;
	if (!(destination->flags & DEST_OVERLOAD) && destination->weight >= wrr->current) {
		wrr->best = slot;
		return 1;
	}
	return slot == wrr->stop;
}

enum { WRR_STEPS = 1 << 20, WRR_ATTEMPTS = 4 };

/* The slot of the next one, 0 if there is none; -1: another CPU was quicker. Out of line: the verifier walks it once,
 * not for each attempt. */
__noinline __s64 wrr_try(__u32 slot)
{
	struct service *service = service_get(slot);
	struct wrr wrr = {};
	struct destination *last;
	__u64 old, new;

	if (!service)
		return 0;
	old = *(volatile __u64 *)&service->cursor;
	wrr.first = service->first;
	wrr.last = old >> 32;
	wrr.current = (__u32)old;
	wrr.gcd = service->gcd;
	wrr.max = service->max_weight;
	if (wrr.max <= 0 || wrr.gcd <= 0 || !wrr.first)
		return 0;
	last = destination_get(wrr.last);
	wrr.slot = wrr.last ? (last ? last->next : 0) : wrr.first;
	bpf_loop(WRR_STEPS, wrr_visit, &wrr, 0);
	/* None: as the kernel leaves it, at the place where it stopped looking. */
	new = (__u64)(wrr.best ?: wrr.last) << 32 | (__u32)wrr.current;
	return __sync_val_compare_and_swap(&service->cursor, old, new) == old ? wrr.best : -1;
}

static __always_inline __u32 wrr_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	for (int attempt = 0; attempt < WRR_ATTEMPTS; attempt++) {
		__s64 next = wrr_try(slot);

		if (next >= 0)
			return next;
	}
	return service->first;
}

/* A new round begins, at the current weight if that still makes sense (ip_vs_wrr_dest_changed()). */
static __always_inline void wrr_changed(struct service *service, __u32 slot, int fresh)
{
	struct survey survey = survey_destinations(service);
	__s32 gcd = survey.gcd ?: 1, max = survey.max_weight - (gcd - 1);
	__s32 current = fresh ? 0 : (__u32)service->cursor;

	if (max < 0)
		max = 0;
	if (current > max || !current)
		current = max;
	else if (gcd > 1)
		current = (__u32)current / (__u32)gcd * gcd + 1;
	service->gcd = gcd;
	service->max_weight = max;
	service->cursor = (__u32)current;
}

#endif
