/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Counters of each CPU, and the one exit: every packet ends in leave(), where it is counted under the name of its
 * outcome. */
#ifndef PYLVS_COUNT_H
#define PYLVS_COUNT_H

#include "packet.h"

/* What a CPU has counted at a destination: its line behind the record (docs/decisions/0008). */
static __always_inline struct counters *counters_of(struct destination *destination, __u32 cpu)
{
	return destination && cpu < cpus ? (void *)destination + RECORD_SIZE + cpu * CPU_LINE : 0;
}

static __always_inline void count_connection(struct destination *destination)
{
	struct counters *counter = counters_of(destination, bpf_get_smp_processor_id());

	if (counter)
		counter->connections++;
}

/* A packet towards its destination. The totals of service and data plane follow from it (fold.h). */
static __always_inline void count_request(struct destination *destination, __u32 bytes)
{
	struct counters *counter = counters_of(destination, bpf_get_smp_processor_id());

	if (counter) {
		counter->in_packets++;
		counter->in_bytes += bytes;
	}
}

static __always_inline void count_reply(struct destination *destination, __u32 bytes)
{
	struct counters *counter = counters_of(destination, bpf_get_smp_processor_id());

	if (counter) {
		counter->out_packets++;
		counter->out_bytes += bytes;
	}
}

/* The verdict of the outcome. */
static __always_inline int leave(struct packet *packet, enum outcome outcome)
{
	__u32 index = outcome;
	__u64 *count = bpf_map_lookup_elem(&outcomes, &index);

	if (count)
		(*count)++;
	if (outcome < FORWARD_DR)
		return packet->hook == HOOK_XDP ? XDP_PASS : TC_ACT_UNSPEC;
	if (outcome < DROP_DESTINATION_GONE)
		return packet->flow->verdict;
	return packet->hook == HOOK_XDP ? XDP_DROP : TC_ACT_SHOT;
}

#endif
