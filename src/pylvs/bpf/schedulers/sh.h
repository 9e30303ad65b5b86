/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Source hashing: by the client's address (sh-port: and its port). Each destination has as many buckets in a row as its
 * weight, at least one. sh-fallback: another bucket where the first one's destination cannot be used. */
#ifndef PYLVS_SCHEDULERS_SH_H
#define PYLVS_SCHEDULERS_SH_H

#include "dh.h"

struct fallback {
	struct buckets *buckets;
	struct maglev *maglev;
	__u32 hash;  /* of the client, what the bucket is made of */
	__u32 first; /* the bucket that cannot be used */
	__u32 best;
};

static long sh_fallback_visit(__u32 index, void *context)
{
	struct fallback *fallback = context;
	__u32 slot = fallback->buckets->slot[(fallback->hash + fallback->first + index) % BUCKETS];

	fallback->best = usable_or_none(slot);
	return fallback->best || !slot;
}

/* The number that is hashed, port and address added up as the kernel does. */
static __always_inline __u32 client_number(struct service *service, struct flow *flow)
{
	__u32 port = service->flags & SERVICE_PORT ? bpf_ntohs(flow->sport) : 0;

	return port + bpf_ntohl(addr_fold(&flow->saddr));
}

static __always_inline __u32 sh_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	__u32 bucket = hash_to_256(client_number(service, flow));
	__u32 best = usable_or_none(bucket_get(service, slot, bucket));
	struct fallback fallback = {.hash = bucket, .first = bucket};

	if (best || !(service->flags & SERVICE_FALLBACK))
		return best;
	fallback.buckets = bpf_map_lookup_elem(&buckets, &slot);
	if (!fallback.buckets)
		return 0;
	bpf_loop(BUCKETS, sh_fallback_visit, &fallback, 0);
	return fallback.best;
}

#endif
