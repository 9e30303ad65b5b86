/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Destination hashing: by the address that the packet is for, of use with firewall marks. 256 buckets, dealt out to the
 * destinations in turn, whatever their weight. */
#ifndef PYLVS_SCHEDULERS_DH_H
#define PYLVS_SCHEDULERS_DH_H

#include "common.h"

static __always_inline __u32 bucket_get(struct service *service, __u32 slot_of_service, __u32 bucket)
{
	struct buckets *table = bpf_map_lookup_elem(&buckets, &slot_of_service);

	return table ? table->slot[bucket % BUCKETS] : 0;
}

static __always_inline __u32 usable_or_none(__u32 slot)
{
	struct destination *destination = destination_get(slot);

	return slot && destination && is_usable(destination) ? slot : 0;
}

static __always_inline __u32 dh_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	__u32 bucket = hash_to_256(bpf_ntohl(addr_fold(&flow->daddr)));

	return usable_or_none(bucket_get(service, slot, bucket));
}

#endif
