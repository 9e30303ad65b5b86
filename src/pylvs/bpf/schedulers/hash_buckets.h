/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The table of 256 buckets of each service that dh or sh schedules, and how it is filled. */
#ifndef PYLVS_SCHEDULERS_HASH_BUCKETS_H
#define PYLVS_SCHEDULERS_HASH_BUCKETS_H

#include "common.h"

enum { HASH_BUCKETS = 256 }; /* the kernel's default: IP_VS_SH_TAB_BITS and IP_VS_DH_TAB_BITS are 8 */
struct hash_buckets {
	__u32 slot[HASH_BUCKETS]; /* of destinations */
};

/* By slot of the service. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct hash_buckets);
} hash_buckets SEC(".maps");

/* Where a table is filled before it is put in place. */
struct hash_buckets_scratch {
	struct hash_buckets table;
};
PER_CPU_SCRATCH(hash_buckets_scratch)

/* What the kernel's hash_32(value, 8) gives: Fibonacci hashing to one of 256 (linux/hash.h). */
static __always_inline __u32 hash_to_bucket(__u32 value)
{
	return value * 0x61c88647U >> 24;
}

struct dealing {
	struct hash_buckets *table;
	__u32 first;
	__u32 slot;
	__s32 given; /* buckets in a row that `slot` has */
	__u32 by_weight;
};

static long deal_visit(__u32 index, void *context)
{
	struct dealing *dealing = context;
	__u32 slot = dealing->slot ?: dealing->first;
	struct destination *destination = destination_get(slot);

	if (!destination)
		return 1;
	dealing->table->slot[index % HASH_BUCKETS] = slot;
	dealing->slot = slot;
	if (!dealing->by_weight || ++dealing->given >= destination->weight) {
		dealing->slot = destination->next;
		dealing->given = 0;
	}
	return 0;
}

/* Deals the buckets out in turn: one to each destination or, `by_weight`, as many in a row as it weighs. */
static __always_inline void hash_buckets_fill(struct service *service, __u32 slot, int by_weight)
{
	struct hash_buckets_scratch *scratch = hash_buckets_scratch_get();
	struct dealing dealing = {.first = service->first, .by_weight = by_weight};

	if (!scratch)
		return;
	dealing.table = &scratch->table;
	__builtin_memset(&scratch->table, 0, sizeof(scratch->table));
	if (service->first)
		bpf_loop(HASH_BUCKETS, deal_visit, &dealing, 0);
	bpf_map_update_elem(&hash_buckets, &slot, &scratch->table, BPF_ANY);
}

static __always_inline void hash_buckets_free(__u32 slot)
{
	bpf_map_delete_elem(&hash_buckets, &slot);
}

#endif
