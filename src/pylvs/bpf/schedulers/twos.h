/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The power of two choices: two drawn at random by weight, the less loaded of them taken. */
#ifndef PYLVS_SCHEDULERS_TWOS_H
#define PYLVS_SCHEDULERS_TWOS_H

#include "common.h"

struct weights {
	__u32 slot;
	__u32 total;
};

static long weights_visit(__u32 index, void *context)
{
	struct weights *weights = context;
	struct destination *destination = destination_get(weights->slot);

	if (!destination)
		return 1;
	weights->slot = destination->next;
	if (is_usable(destination))
		weights->total += destination->weight;
	return !weights->slot;
}

struct draw {
	__u32 slot;
	__s32 left[2];
	__u32 chosen[2];
	__s32 weight[2];
	__s64 load[2];
};

static long draw_visit(__u32 index, void *context)
{
	struct draw *draw = context;
	__u32 slot = draw->slot;
	struct destination *destination = destination_get(slot);

	if (!destination)
		return 1;
	draw->slot = destination->next;
	if (is_usable(destination)) {
		for (int i = 0; i < 2; i++) {
			draw->left[i] -= destination->weight;
			if (draw->left[i] <= 0 && !draw->chosen[i]) {
				draw->chosen[i] = slot;
				draw->weight[i] = destination->weight;
				draw->load[i] = connection_overhead(destination);
			}
		}
	}
	return !draw->slot || (draw->chosen[0] && draw->chosen[1]);
}

static __always_inline __u32 twos_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct weights weights = {.slot = service->first};
	struct draw draw = {.slot = service->first};

	bpf_loop(DESTINATIONS_MAX, weights_visit, &weights, 0);
	if (!weights.total)
		return 0;
	for (int i = 0; i < 2; i++)
		draw.left[i] = bpf_get_prandom_u32() % (weights.total + 1);
	bpf_loop(DESTINATIONS_MAX, draw_visit, &draw, 0);
	if (draw.chosen[1] && draw.weight[1] * draw.load[0] > draw.weight[0] * draw.load[1])
		return draw.chosen[1];
	return draw.chosen[0];
}

/* Draws as ever, and says that the next draw may be another. */
static __always_inline __u32 twos_preview(struct service *service, __u32 slot, struct flow *flow,
					  struct explain_args *args)
{
	args->flags |= EXPLAIN_RANDOM;
	return twos_schedule(service, slot, flow);
}

#endif
