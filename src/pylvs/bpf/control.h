/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What the command does to a service, in the kernel: puts a destination into the list or takes it out, and lets the
 * scheduler make up its mind anew. Python holds the lock; the data plane goes on meanwhile. */
#ifndef PYLVS_CONTROL_H
#define PYLVS_CONTROL_H

#include "schedule.h"
#include "sweep.h"

struct survey {
	__u32 slot;
	__u32 count;
	__s32 max_weight;
	__u32 gcd;
	__s32 max_last_weight;
	__u32 gcd_of_last;
};

static __always_inline __u32 greatest_common_divisor(__u32 a, __u32 b)
{
	for (int i = 0; i < 48 && b; i++) {
		__u32 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static long survey_visit(__u32 index, void *context)
{
	struct survey *survey = context;
	struct destination *destination = destination_get(survey->slot);

	if (!destination)
		return 1;
	survey->slot = destination->next;
	survey->count++;
	if (destination->weight > survey->max_weight)
		survey->max_weight = destination->weight;
	if (destination->weight > 0)
		survey->gcd =
			survey->gcd ? greatest_common_divisor(destination->weight, survey->gcd) : destination->weight;
	if (destination->last_weight > survey->max_last_weight)
		survey->max_last_weight = destination->last_weight;
	if (destination->last_weight > 0)
		survey->gcd_of_last = survey->gcd_of_last
					      ? greatest_common_divisor(destination->last_weight, survey->gcd_of_last)
					      : destination->last_weight;
	return !survey->slot;
}

/* wrr begins a new round, at the current weight if that still makes sense (ip_vs_wrr_dest_changed). */
static __always_inline void wrr_changed(struct service *service, const struct survey *survey, int fresh)
{
	__s32 gcd = survey->gcd ?: 1, max = survey->max_weight - (gcd - 1);
	__s32 current = fresh ? 0 : (__u32)service->cursor;

	if (max < 0)
		max = 0;
	if (current > max || !current)
		current = max;
	else if (gcd > 1)
		current = (__u32)current / (__u32)gcd * gcd + 1;
	service->gcd = gcd;
	service->max_weight = max;
	service->cursor = (__u32)current;
}

struct dealing {
	struct buckets *buckets;
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
	dealing->buckets->slot[index % BUCKETS] = slot;
	dealing->slot = slot;
	if (!dealing->by_weight || ++dealing->given >= destination->weight) {
		dealing->slot = destination->next;
		dealing->given = 0;
	}
	return 0;
}

/* sh and dh: deals the buckets out anew. */
static __always_inline void buckets_changed(struct service *service, __u32 slot, struct workbench *bench, int by_weight)
{
	struct dealing dealing = {.buckets = &bench->buckets, .first = service->first, .by_weight = by_weight};

	__builtin_memset(&bench->buckets, 0, sizeof(bench->buckets));
	if (service->first)
		bpf_loop(BUCKETS, deal_visit, &dealing, 0);
	bpf_map_update_elem(&buckets, &slot, &bench->buckets, BPF_ANY);
}

struct permuting {
	struct workbench *bench;
	__u32 slot;
	__u32 gcd;
	__u32 shift;
	__u32 count;
};

/* Whether a destination comes before another one in the order of their addresses, the highest first: in which they are
 * when they were added from the lowest on. */
static __always_inline int comes_before(__u32 a, __u32 b)
{
	struct destination *one = destination_get(a), *other = destination_get(b);

	if (!one || !other)
		return 0;
	if (one->address.high != other->address.high)
		return bpf_be64_to_cpu(one->address.high) > bpf_be64_to_cpu(other->address.high);
	if (one->address.low != other->address.low)
		return bpf_be64_to_cpu(one->address.low) > bpf_be64_to_cpu(other->address.low);
	return bpf_ntohs(one->port) > bpf_ntohs(other->port);
}

struct sorting {
	struct workbench *bench;
	__u32 at;
};

static long sort_visit(__u32 index, void *context)
{
	struct sorting *sorting = context;
	struct permutation *own = &sorting->bench->permutation[sorting->at % DESTINATIONS_MAX];
	struct permutation *before = &sorting->bench->permutation[(sorting->at - 1) % DESTINATIONS_MAX], moved;

	if (!sorting->at || !comes_before(own->slot, before->slot))
		return 1;
	moved = *before;
	*before = *own;
	*own = moved;
	sorting->at--;
	return 0;
}

static long permute_visit(__u32 index, void *context)
{
	struct permuting *permuting = context;
	struct destination *destination = destination_get(permuting->slot);
	__u32 number, turns;
	struct permutation *own;

	if (!destination || index >= DESTINATIONS_MAX)
		return 1;
	own = &permuting->bench->permutation[index % DESTINATIONS_MAX];
	number = bpf_ntohs(destination->port) + bpf_ntohl(addr_fold(&destination->address));
	turns = (__u32)destination->last_weight / permuting->gcd >> (permuting->shift & 31);
	own->slot = permuting->slot;
	own->next = maglev_hash(number, MAGLEV_KEY_1) % MAGLEV;
	own->skip = maglev_hash(number, MAGLEV_KEY_2) % (MAGLEV - 1) + 1;
	own->turns = turns ?: destination->last_weight != 0;
	permuting->count++;
	permuting->slot = destination->next;
	/* A flow can be picked up in its middle: directors must agree that were configured in different orders. */
	if (settings.sloppy_tcp) {
		struct sorting sorting = {.bench = permuting->bench, .at = index % DESTINATIONS_MAX};

		bpf_loop(DESTINATIONS_MAX, sort_visit, &sorting, 0);
	}
	return !permuting->slot;
}

/* One try of one destination: the next place of its permutation, taken if it is free. */
static long fill_visit(__u32 index, void *context)
{
	struct workbench *bench = *(struct workbench **)context;
	struct permutation *own = &bench->permutation[bench->who % DESTINATIONS_MAX];
	__u32 place = bounded(own->next % MAGLEV, 4095);

	if (own->turns) {
		own->next = (place + own->skip) % MAGLEV;
		if (bench->maglev.slot[place])
			return 0;
		bench->maglev.slot[place] = own->slot;
		if (++bench->filled >= MAGLEV)
			return 1;
		if (++bench->turn < own->turns)
			return 0;
	}
	bench->turn = 0;
	bench->who = bench->who + 1 >= bench->count ? 0 : bench->who + 1;
	return 0;
}

static long clear_visit(__u32 index, void *context)
{
	struct workbench *bench = *(struct workbench **)context;

	if (index < MAGLEV)
		bench->maglev.slot[index] = 0;
	return 0;
}

/* Position of the highest bit that is set, from 1; 0 for 0. */
static __always_inline __u32 highest_bit(__u32 value)
{
	__u32 bits = value != 0;

	for (__u32 step = 16; step; step >>= 1) {
		if (value >> step) {
			value >>= step;
			bits += step;
		}
	}
	return bits;
}

/* mh: fills the table anew. Weights are divided by their greatest common divisor and cut to six bits, as in the kernel. */
static __always_inline void maglev_changed(struct service *service, __u32 slot, struct workbench *bench,
					   const struct survey *survey)
{
	struct permuting permuting = {.bench = bench, .slot = service->first, .gcd = survey->gcd_of_last};

	bpf_loop(MAGLEV, clear_visit, &bench, 0);
	if (survey->gcd_of_last) {
		__u32 bits = highest_bit((__u32)survey->max_last_weight / survey->gcd_of_last);

		permuting.shift = bits > 6 ? bits - 6 : 0;
		bpf_loop(DESTINATIONS_MAX, permute_visit, &permuting, 0);
		bench->who = bench->filled = bench->turn = 0;
		bench->count = permuting.count;
		bpf_loop(BPF_MAX_STEPS, fill_visit, &bench, 0);
	}
	bpf_map_update_elem(&maglevs, &slot, &bench->maglev, BPF_ANY);
}

/* Lets the scheduler see its destinations anew; `fresh`: it is another scheduler now. */
__noinline int scheduler_changed(__u32 slot, int fresh)
{
	struct service *service = service_get(slot);
	struct survey survey = {};
	__u32 zero = 0;
	struct workbench *bench = bpf_map_lookup_elem(&workbenches, &zero);

	if (!bench || !service)
		return -1;
	survey.slot = service->first;
	if (service->first)
		bpf_loop(DESTINATIONS_MAX, survey_visit, &survey, 0);
	if (fresh)
		service->cursor = 0;
	if (service->scheduler == SCHED_WRR)
		wrr_changed(service, &survey, fresh);
	if (service->scheduler == SCHED_SH || service->scheduler == SCHED_DH)
		buckets_changed(service, slot, bench, service->scheduler == SCHED_SH);
	if (service->scheduler == SCHED_MH)
		maglev_changed(service, slot, bench, &survey);
	return 0;
}

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

/* Slot of the destination in front of this one, 0 if it is the first. */
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

/* A chain of new destinations, the oldest first, one by one as if each had come alone: what a scheduler makes of a list
 * depends on how it grew. */
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
	scheduler_changed(linking->service, 0);
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
	/* Round robin goes on from the one before, as ip_vs_rr_del_dest() has it. */
	if (service->scheduler == SCHED_RR && service->cursor >> 32 == slot)
		service->cursor = (__u64)before << 32;
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

/* Brings totals up to date: of a service and its destinations, or of everything. */
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
	__u32 second;
	__u32 ended;
};

static long end_visit(__u32 number, void *context)
{
	struct ending *ending = context;
	struct connection_bucket *set = connection_bucket_get(number);

	if (!set)
		return 1;
	for (int way = 0; way < WAYS; way++) {
		struct connection *connection = &set->way[way];

		if (connection->tag >= TAG_FIRST && connection->destination == ending->destination)
			ending->ended += connection_end(connection, ending->now, ending->second);
	}
	return 0;
}

/* Ends every connection of a destination: the next packet of each has none, and the host answers it with RST. */
static __always_inline __u32 end_connections(__u32 destination, __u32 now)
{
	struct ending ending = {.destination = destination, .now = now};

	ending.second = settings.second;
	bpf_loop(table_buckets, end_visit, &ending, 0);
	return ending.ended;
}

SEC("syscall")
int control(struct control_args *args)
{
	struct service *service = service_get(args->service);
	struct destination *destination = destination_get(args->destination);

	args->now = now_ticks();
	args->result = -1;
	if (!service)
		return 0;
	if (args->operation == CONTROL_LINK) {
		struct linking linking = {.service = args->service, .slot = args->destination};

		bpf_loop(DESTINATIONS_MAX, link_visit, &linking, 0);
		args->result = 0;
		return 0;
	}
	if (args->operation == CONTROL_UNLINK && destination)
		unlink_destination(service, destination, args->destination);
	if (args->operation == CONTROL_FOLD) {
		fold_counters(service, args->service);
		return 0;
	}
	if (args->operation == CONTROL_SWEEP) {
		sweep_sets(0, table_buckets, args->now);
		return 0;
	}
	if (args->operation == CONTROL_END) {
		args->result = end_connections(args->destination, args->now);
		return 0;
	}
	if (args->operation != CONTROL_NOW)
		scheduler_changed(args->service, args->operation == CONTROL_RESCHEDULE);
	args->result = 0;
	return 0;
}

#endif
