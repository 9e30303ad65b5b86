/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What the command does to a service in the kernel, while packets go on being scheduled. Python runs the program
 * `control`, and holds the lock meanwhile.
 *
 * Python writes records; what needs an order or an atomic operation is done here: destinations join and leave a
 * service's list, and its scheduler sees them anew; counters become totals; connections are ended. */
#ifndef PYLVS_CONTROL_H
#define PYLVS_CONTROL_H

#include "connection.h"
#include "schedulers/schedulers.h"
#include "sweep.h"

struct before {
	__u32 slot;
	__u32 wanted;
	__u32 found;
};

static long before_visit(__u32 index, void *context)
{
	struct before *before = context;
	struct destination *destination = destination_get(before->slot);

	if (!destination)
		return 1;
	if (destination->next == before->wanted) {
		before->found = before->slot;
		return 1;
	}
	before->slot = destination->next;
	return !before->slot;
}

/* The slot of the destination that this one follows in the list, 0 if it is the first. */
static __always_inline __u32 destination_before(struct service *service, __u32 slot)
{
	struct before before = {.slot = service->first, .wanted = slot};

	if (service->first != slot)
		bpf_loop(DESTINATIONS_MAX, before_visit, &before, 0);
	return before.found;
}

static __always_inline void link_destination(struct service *service, struct destination *destination, __u32 slot)
{
	destination->next = service->first;
	__sync_lock_test_and_set(&service->first, slot);
	service->destinations++;
}

struct linking {
	__u32 service;
	__u32 slot;
};

/* Links a chain of new destinations, the oldest first, one by one as if each had been added alone: what a scheduler
 * makes of a list depends on how it grew. */
static long link_visit(__u32 index, void *context)
{
	struct linking *linking = context;
	struct service *service = service_get(linking->service);
	struct destination *destination = destination_get(linking->slot);
	__u32 slot = linking->slot;

	if (!service || !destination)
		return 1;
	linking->slot = destination->next;
	link_destination(service, destination, slot);
	scheduler_changed(service, linking->service);
	return !linking->slot;
}

static __always_inline void unlink_destination(struct service *service, struct destination *destination, __u32 slot)
{
	__u32 before = destination_before(service, slot);
	struct destination *previous = destination_get(before);

	if (service->first == slot)
		service->first = destination->next;
	else if (before && previous)
		previous->next = destination->next;
	service->destinations--;
	scheduler_removed(service, slot, before);
}

static long fold_all_visit(__u32 slot, void *context)
{
	fold(slot);
	return 0;
}

static long fold_visit(__u32 index, void *context)
{
	__u32 *slot = context;
	struct destination *destination = destination_get(*slot);

	if (!destination)
		return 1;
	fold(*slot);
	*slot = destination->next;
	return !*slot;
}

/* Folds the counters of a service's destinations, or (slot 0) of everything. */
static __always_inline void fold_counters(struct service *service, __u32 slot)
{
	__u32 first = service->first;

	if (slot)
		bpf_loop(DESTINATIONS_MAX, fold_visit, &first, 0);
	else
		bpf_loop(settings.next_record, fold_all_visit, &first, 0);
}

struct ending {
	__u32 destination;
	__u32 now;
	__u32 ended;
};

static long end_visit(__u32 number, void *context)
{
	struct ending *ending = context;
	struct connection_bucket *bucket = bucket_get(number);

	if (!bucket)
		return 1;
	for (int way = 0; way < WAYS; way++)
		ending->ended += connection_end_now(&bucket->way[way], ending->destination, ending->now);
	return 0;
}

/* Ends every connection of a destination; returns how many. The host answers the next packet of each with RST. */
static __always_inline __u32 end_connections(__u32 destination, __u32 now)
{
	struct ending ending = {.destination = destination, .now = now};

	bpf_loop(table_buckets, end_visit, &ending, 0);
	return ending.ended;
}

/* The service has this scheduler from now on, from its beginning. What it looks destinations up in is filled first and
 * put in its place by one store, as packets go on being scheduled. What the old one kept stays until the service goes: a
 * packet on another CPU may be about to look into it. */
static __always_inline void reschedule(struct service *service, __u32 slot, __u32 scheduler)
{
	scheduler_prepare(slot, scheduler, 1);
	*(volatile __u32 *)&service->scheduler = scheduler;
	if (scheduler != SCHED_WRR) /* which begins where wrr_changed() says */
		service->cursor = 0;
}

static __always_inline void link_chain(__u32 service, __u32 first)
{
	struct linking linking = {.service = service, .slot = first};

	bpf_loop(DESTINATIONS_MAX, link_visit, &linking, 0);
}

SEC("syscall")
int control(struct control_args *args)
{
	struct service *service = service_get(args->service);
	struct destination *destination = destination_get(args->destination);

	args->now = now_ticks();
	args->result = service ? 0 : -1;
	if (!service)
		return 0;
	switch (args->operation) {
	case CONTROL_LINK: link_chain(args->service, args->destination); break;
	case CONTROL_UNLINK:
		if (destination)
			unlink_destination(service, destination, args->destination);
		scheduler_changed(service, args->service);
		break;
	case CONTROL_CHANGED: scheduler_changed(service, args->service); break;
	case CONTROL_RESCHEDULE: reschedule(service, args->service, args->scheduler); break;
	case CONTROL_SETTING:
		if (scheduler_outdated(service, args->service))
			scheduler_changed(service, args->service);
		break;
	case CONTROL_UNSCHEDULE: schedulers_free(args->service); break;
	case CONTROL_END: args->result = end_connections(args->destination, args->now); break;
	case CONTROL_FOLD: fold_counters(service, args->service); break;
	case CONTROL_SWEEP: sweep_buckets(0, table_buckets, args->now); break;
	}
	return 0;
}

#endif
