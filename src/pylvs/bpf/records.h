/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The maps that the director and the listing of its connections share: records and connection table. */
#ifndef PYLVS_RECORDS_H
#define PYLVS_RECORDS_H

#include "abi.h"

/* value_size is set before loading, to RECORD_SIZE and a line for each CPU. (A program that reuses the map gets the
 * size of what is there.) */
struct records_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CHUNK);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, RECORD_SIZE + CPU_LINE);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CHUNKS);
	__type(key, __u32);
	__array(values, struct records_chunk);
} records SEC(".maps");

/* max_entries is set before loading, to the number of buckets. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection_bucket);
} connections SEC(".maps");

/* What a pass over the table reads first: one for each bucket. */
struct bucket_summary {
	__u32 due;      /* tick when its soonest entry expires, or sooner; 0: it is empty */
	__u32 overflow; /* OVERFLOW_COUNT: how many entries found it full; and two locks (lock.h) */
};
enum { OVERFLOW_COUNT = (1 << 30) - 1 };

/* max_entries is set before loading, as that of `connections`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket_summary);
} due SEC(".maps");

static __always_inline void *record_get(__u32 slot)
{
	__u32 chunk = slot / CHUNK, index = slot % CHUNK;
	void *records_of_chunk = bpf_map_lookup_elem(&records, &chunk);

	return records_of_chunk ? bpf_map_lookup_elem(records_of_chunk, &index) : 0;
}

static __always_inline struct service *service_get(__u32 slot)
{
	return record_get(slot);
}

static __always_inline struct destination *destination_get(__u32 slot)
{
	return record_get(slot);
}

/* Whether tick a is before tick b, around the wrap. */
static __always_inline int tick_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

#endif
