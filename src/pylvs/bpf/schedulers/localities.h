/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What lblc and lblcr remember: which destinations have served an address, a web site behind a cache say. Bounded: the
 * least recently used entries are evicted.
 *
 * The key has a number that the service draws anew whenever its scheduler is set, so what was remembered before is
 * never found again; nothing has to be searched and deleted. */
#ifndef PYLVS_SCHEDULERS_LOCALITIES_H
#define PYLVS_SCHEDULERS_LOCALITIES_H

#include "least_loaded.h"

enum { LOCALITY_MAX = EXPLAIN_REMEMBERED };

struct locality_key {
	struct addr address;
	__u32 service;  /* slot */
	__u32 locality; /* of struct service */
};

struct locality {
	__u32 slot[LOCALITY_MAX];
	__u32 count;
	__u32 changed; /* tick */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct locality_key);
	__type(value, struct locality);
} localities SEC(".maps");

struct locality_scratch {
	struct locality_key key;
	struct locality fresh;
};
PER_CPU_SCRATCH(locality_scratch)

/* What is remembered for the flow's address, whose key is then in `scratch`; 0: nothing. */
static __always_inline struct locality *locality_get(struct locality_scratch *scratch, const struct service *service,
						     __u32 slot, const struct flow *flow)
{
	scratch->key.address = flow->daddr;
	scratch->key.service = slot;
	scratch->key.locality = service->locality;
	return bpf_map_lookup_elem(&localities, &scratch->key);
}

/* Remembers the least loaded destination for the address of the key in `scratch`, if there is one. */
static __always_inline __u32 locality_new(struct locality_scratch *scratch, struct service *service, __u32 now)
{
	struct locality *fresh = &scratch->fresh;

	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->count = 1;
	fresh->changed = now;
	fresh->slot[0] = least_loaded(service->first, LOAD_OVERHEAD);
	if (fresh->slot[0])
		bpf_map_update_elem(&localities, &scratch->key, fresh, BPF_ANY);
	return fresh->slot[0];
}

/* Whether a destination may serve an address that it has served before. */
static __always_inline int is_still_there(const struct destination *destination, __u32 slot_of_service)
{
	return destination->service == slot_of_service && (destination->flags & DEST_AVAILABLE) &&
	       destination->weight > 0;
}

struct overloaded {
	__u32 slot;
	__u32 found;
};

static long half_idle_visit(__u32 index, void *context)
{
	struct overloaded *search = context;
	struct destination *destination = destination_get(search->slot);

	if (!destination)
		return 1;
	search->slot = destination->next;
	search->found = destination->active * 2 < destination->weight;
	return search->found || !search->slot;
}

/* Whether the destination has more active connections than weight while another has less than half of its own. */
static __always_inline int is_overloaded(struct service *service, const struct destination *destination)
{
	struct overloaded search = {.slot = service->first};

	if (destination->active <= destination->weight)
		return 0;
	bpf_loop(DESTINATIONS_MAX, half_idle_visit, &search, 0);
	return search.found;
}

/* The service has this scheduler from now on. */
static __always_inline void localities_changed(struct service *service, int fresh)
{
	if (fresh)
		service->locality = bpf_get_prandom_u32();
}

/* What is remembered for the flow's address, and whom the scheduler would add to it. */
static __always_inline __u32 localities_preview(struct service *service, __u32 slot, struct flow *flow,
						struct explain_args *args)
{
	struct locality_scratch *scratch = locality_scratch_get();
	struct locality *locality = scratch ? locality_get(scratch, service, slot, flow) : 0;

	args->flags |= EXPLAIN_REMEMBERS;
	if (locality)
		__builtin_memcpy(args->remembered, locality->slot, sizeof(args->remembered));
	return least_loaded(service->first, LOAD_OVERHEAD);
}

#endif
