/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Weighted rendezvous hashing, which chooses the destination where the table has no room for an entry, unless the
 * service's scheduler is a consistent hash itself. It goes by the
 * client's address and port, the destinations' addresses, ports and weights, and nothing that a second director would
 * not know too. So a flow stays where it is as long as its destination does (docs/decisions/0003). */
#ifndef PYLVS_RENDEZVOUS_H
#define PYLVS_RENDEZVOUS_H

#include "schedulers/schedulers.h"
#include "table.h"

/* The golden ratio, and a prime of Steele and Vigna's: any odd multipliers that mix well would do. */
#define MIX_1 0x9e3779b97f4a7c15ULL
#define MIX_2 0xd1342543de82ef95ULL

struct rendezvous {
	__u32 slot;
	__u32 best;
	__u64 client;
	__u64 best_score;
	__u64 best_hash;
};

/* -log2(x / 2^32) in 16.16 fixed point, from the position of the highest bit and a square's worth of correction. */
static __always_inline __u64 minus_log2(__u32 x)
{
	__u32 shift = 0, fraction;

	x = x ?: 1;
	for (int step = 16; step; step >>= 1) {
		if (!(x >> (32 - step))) {
			x <<= step;
			shift += step;
		}
	}
	fraction = (x << 1) >> 16; /* what follows the leading one: x = 2^31 (1 + fraction / 2^16) */
	/* log2(1 + f) is f + 0.344 f (1 - f), to within 0.4 % */
	fraction += (((__u64)fraction * (65536 - fraction)) >> 16) * 22544 >> 16;
	return ((__u64)(shift + 1) << 16) - fraction;
}

/* Every bit of the result depends on every bit of the value. */
static __always_inline __u64 mixed(__u64 value)
{
	value = (value ^ value >> 32) * MIX_1;
	value = (value ^ value >> 29) * MIX_2;
	return value ^ value >> 32;
}

static long rendezvous_visit(__u32 index, void *context)
{
	struct rendezvous *rendezvous = context;
	__u32 slot = rendezvous->slot;
	struct destination *destination = destination_get(slot);
	__u64 hash, score;

	if (!destination)
		return 1;
	rendezvous->slot = destination->next;
	if (destination->weight <= 0)
		return !rendezvous->slot;
	hash = mixed(rendezvous->client ^ mixed(destination->address.low ^ destination->address.high * MIX_2 ^
						(__u64)destination->port << 16));
	/* The least -log(random) / weight wins. */
	score = (minus_log2(hash >> 32) << 24) / (__u32)destination->weight;
	/* Of equals not the first, which another director may have elsewhere in its list. */
	if (!rendezvous->best || score < rendezvous->best_score ||
	    (score == rendezvous->best_score && hash < rendezvous->best_hash)) {
		rendezvous->best = slot;
		rendezvous->best_score = score;
		rendezvous->best_hash = hash;
	}
	return !rendezvous->slot;
}

/* The slot of the destination, 0: none. */
__noinline __u32 schedule_consistently(struct flow *flow, __u32 slot)
{
	struct service *service = service_get(slot);
	struct rendezvous rendezvous = {};
	__u32 chosen = 0;

	if (!flow || !service)
		return 0;
	if (scheduler_is_consistent(service, slot, flow, &chosen))
		return chosen;
	rendezvous.slot = service->first;
	rendezvous.client = mixed(flow->saddr.low ^ flow->saddr.high * MIX_2 ^ (__u64)flow->sport << 16);
	bpf_loop(DESTINATIONS_MAX, rendezvous_visit, &rendezvous, 0);
	return rendezvous.best;
}

#endif
