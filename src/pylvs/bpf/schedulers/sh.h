/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Source hashing: by the client's address (sh-port: and its port). Each destination has as many buckets in a row as
 * its weight, at least one. sh-fallback: another bucket where the destination of the first one cannot be used. */
#ifndef PYLVS_SCHEDULERS_SH_H
#define PYLVS_SCHEDULERS_SH_H

#include "client_hash.h"
#include "hash_buckets.h"

struct sh_fallback {
	struct hash_buckets *table;
	__u32 bucket; /* the one that cannot be used */
	__u32 best;
};

static long sh_fallback_visit(__u32 index, void *context)
{
	struct sh_fallback *fallback = context;
	/* The kernel adds bucket, offset and hash, which is the bucket once more (ip_vs_sh_get_fallback()). */
	__u32 slot = fallback->table->slot[(fallback->bucket + fallback->bucket + index) % HASH_BUCKETS];

	fallback->best = usable_or_none(slot);
	return fallback->best || !slot;
}

static __always_inline __u32 sh_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	__u32 bucket = hash_to_bucket(client_number(service, flow));
	struct hash_buckets *table = bpf_map_lookup_elem(&hash_buckets, &slot);
	struct sh_fallback fallback = {.table = table, .bucket = bucket};
	__u32 best;

	if (!table)
		return 0;
	best = usable_or_none(table->slot[bucket % HASH_BUCKETS]);
	if (best || !(service->flags & SERVICE_FALLBACK))
		return best;
	bpf_loop(HASH_BUCKETS, sh_fallback_visit, &fallback, 0);
	return fallback.best;
}

static __always_inline void sh_changed(struct service *service, __u32 slot, int fresh)
{
	hash_buckets_fill(service, slot, 1);
}

static __always_inline void sh_ended(__u32 slot)
{
	hash_buckets_free(slot);
}

#endif
