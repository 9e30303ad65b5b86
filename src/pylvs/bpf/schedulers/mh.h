/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Maglev hashing (Eisenbud et al., NSDI 2016): a table of 4093 entries in which every destination has its share by weight,
 * and which hardly changes when one of them comes or goes. mh-port and mh-fallback as sh's. */
#ifndef PYLVS_SCHEDULERS_MH_H
#define PYLVS_SCHEDULERS_MH_H

#include "sh.h"

/* The kernel's hsiphash() of four bytes on a 64-bit machine: SipHash-1-3 cut to 32 bits, both halves of the key alike. */
#define MAGLEV_KEY_1 2654435761ULL
#define MAGLEV_KEY_2 2654446892ULL

static __always_inline __u64 rotate_left(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static __always_inline void sip_round(__u64 v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] = rotate_left(v[2], 32);
}

static __always_inline __u32 maglev_hash(__u32 value, __u64 key)
{
	__u64 block = 4ULL << 56 | value;
	__u64 v[4] = {0x736f6d6570736575ULL ^ key, 0x646f72616e646f6dULL ^ key, 0x6c7967656e657261ULL ^ key,
		      0x7465646279746573ULL ^ key ^ block};

	sip_round(v);
	v[0] ^= block;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline __u32 maglev_place(__u32 value)
{
	return bounded(maglev_hash(value, MAGLEV_KEY_1) % MAGLEV, 4095);
}

static long mh_fallback_visit(__u32 index, void *context)
{
	struct fallback *fallback = context;
	__u32 offset = (index + fallback->first) % MAGLEV;
	__u32 slot = fallback->maglev->slot[maglev_place(fallback->hash + offset)];

	fallback->best = usable_or_none(slot);
	return fallback->best || !slot;
}

static __always_inline __u32 mh_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct maglev *table = bpf_map_lookup_elem(&maglevs, &slot);
	struct fallback fallback = {.maglev = table, .hash = client_number(service, flow)};
	__u32 best;

	if (!table)
		return 0;
	fallback.first = maglev_place(fallback.hash);
	best = table->slot[fallback.first];
	if (!best)
		return 0;
	best = usable_or_none(best);
	if (best || !(service->flags & SERVICE_FALLBACK))
		return best;
	bpf_loop(MAGLEV, mh_fallback_visit, &fallback, 0);
	return fallback.best;
}

#endif
