/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Destination hashing: by the address that the packet is for, of use with firewall marks. Each destination has every
 * n-th bucket, whatever its weight. */
#ifndef PYLVS_SCHEDULERS_DH_H
#define PYLVS_SCHEDULERS_DH_H

#include "hash_buckets.h"

static __always_inline __u32 dh_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct hash_buckets *table = bpf_map_lookup_elem(&hash_buckets, &slot);
	__u32 bucket = hash_to_bucket(bpf_ntohl(addr_fold(&flow->daddr)));

	return table ? usable_or_none(table->slot[bucket % HASH_BUCKETS]) : 0;
}

static __always_inline void dh_changed(struct service *service, __u32 slot, int fresh)
{
	hash_buckets_fill(service, slot, 0);
}

static __always_inline void dh_ended(__u32 slot)
{
	hash_buckets_free(slot);
}

#endif
