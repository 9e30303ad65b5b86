/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* From the counters of CPUs to totals.
 *
 * Packets are counted at their destination alone, by the CPU that forwards them. Folding sums that up, and adds what
 * is new to the totals of the destination, of its service and of everything. The timer does it every two seconds
 * (sweep.h), a listing when it reads. Both at once do no harm: a total is exchanged for the new sum atomically, so
 * what one has taken the other does not find. */
#ifndef PYLVS_FOLD_H
#define PYLVS_FOLD_H

#include "count.h"

struct folding {
	struct destination *destination;
	struct counters sum;
};

struct estimates_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CHUNK);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct estimate));
};

/* By slot, in chunks as the records are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CHUNKS);
	__type(key, __u32);
	__array(values, struct estimates_chunk);
} estimates SEC(".maps");

static __always_inline struct estimate *estimate_get(__u32 slot)
{
	__u32 chunk = slot / CHUNK, index = slot % CHUNK;
	void *of_chunk = bpf_map_lookup_elem(&estimates, &chunk);

	return of_chunk ? bpf_map_lookup_elem(of_chunk, &index) : 0;
}

static long sum_visit(__u32 cpu, void *context)
{
	struct folding *folding = context;
	struct counters *counter = counters_of(folding->destination, cpu);

	if (!counter)
		return 1;
	folding->sum.connections += counter->connections;
	folding->sum.in_packets += counter->in_packets;
	folding->sum.out_packets += counter->out_packets;
	folding->sum.in_bytes += counter->in_bytes;
	folding->sum.out_bytes += counter->out_bytes;
	return 0;
}

/* Exchanges a total for the new sum, and adds what is new to the two others. */
static __always_inline void fold_one(__u64 *total, __u64 sum, __u64 *of_service, __u64 *of_all)
{
	__u64 more = sum - __sync_lock_test_and_set(total, sum);

	__sync_fetch_and_add(of_service, more);
	__sync_fetch_and_add(of_all, more);
}

/* Folds what the record in the slot has counted. A service counts nothing, and neither does a free record. */
static __always_inline void fold(__u32 slot)
{
	struct destination *destination = destination_get(slot);
	struct folding folding = {.destination = destination};
	struct estimate *own = estimate_get(slot), *service, *all = estimate_get(0);

	bpf_loop(cpus, sum_visit, &folding, 0);
	if (!folding.sum.in_packets && !folding.sum.out_packets && !folding.sum.connections)
		return;
	service = destination ? estimate_get(destination->service) : 0;
	if (!own || !service || !all)
		return;
	fold_one(&own->total.connections, folding.sum.connections, &service->total.connections,
		 &all->total.connections);
	fold_one(&own->total.in_packets, folding.sum.in_packets, &service->total.in_packets, &all->total.in_packets);
	fold_one(&own->total.out_packets, folding.sum.out_packets, &service->total.out_packets,
		 &all->total.out_packets);
	fold_one(&own->total.in_bytes, folding.sum.in_bytes, &service->total.in_bytes, &all->total.in_bytes);
	fold_one(&own->total.out_bytes, folding.sum.out_bytes, &service->total.out_bytes, &all->total.out_bytes);
}

#endif
