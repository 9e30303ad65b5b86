/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Maglev hashing (Eisenbud et al., NSDI 2016): by the client's address (mh-port: and its port), in a table of 4,093
 * places of which every destination has its share by weight, and which hardly changes when one of them comes or goes.
 * mh-fallback: another place where the destination of the first one cannot be used.
 *
 * The table is filled as the kernel fills it (ip_vs_mh_populate()), so that directors agree:
 * 1. Each destination has a permutation of the places, by a hash of its address and port: first place and stride.
 * 2. The destinations take turns. In its turn one takes the next free places of its permutation, as many as its
 *    weight, divided by the greatest common divisor of all and cut to six bits.
 * 3. The order of turns is that of the list. With sloppy_tcp it is that of the addresses, as in the kernel: a flow
 *    may be picked up in its middle then, by a director whose list grew in another order. */
#ifndef PYLVS_SCHEDULERS_MH_H
#define PYLVS_SCHEDULERS_MH_H

#include "client_hash.h"
#include "survey.h"

enum { MAGLEV_PLACES = 4093, MAGLEV_LIMIT = 4096 }; /* IP_VS_MH_TAB_INDEX 12, a prime; the next power of two */
enum { MAGLEV_WEIGHT_BITS = 6, MAGLEV_STEPS_MAX = 1 << 23 };

struct maglev {
	__u32 slot[MAGLEV_LIMIT]; /* of destinations, 0: none */
	__u32 sorted;             /* by address: it was filled with sloppy_tcp */
};

/* By slot of the service. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct maglev);
} maglevs SEC(".maps");

/* How one destination takes places. */
struct permutation {
	__u32 slot;
	__u32 next; /* place to try */
	__u32 skip; /* stride */
	__u32 turns;
};

/* Where a table is filled before it is put in place. The counters of the loop are here and not in its context on the
 * stack: the verifier would follow their values, and try each of 2^23 steps ("BPF program is too large. Processed
 * 1000001 insn"). */
struct maglev_scratch {
	__u32 cursor; /* destination whose turn it is */
	__u32 count;  /* of destinations */
	__u32 filled; /* places */
	__u32 taken;  /* in this turn */
	struct maglev table;
	struct permutation permutation[DESTINATIONS_MAX];
};

/* One for all CPUs, since it is too large for a per-CPU map; the command's lock protects it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct maglev_scratch);
} maglev_scratch SEC(".maps");

/* The kernel's hsiphash() of four bytes on a 64-bit machine: SipHash-1-3 cut to 32 bits, both key halves alike. */
#define MAGLEV_KEY_1 2654435761ULL
#define MAGLEV_KEY_2 2654446892ULL

static __always_inline __u64 rotate_left(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static __always_inline void sip_round(__u64 v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] = rotate_left(v[2], 32);
}

static __always_inline __u32 maglev_hash(__u32 value, __u64 key)
{
	__u64 block = 4ULL << 56 | value;
	__u64 v[4] = {0x736f6d6570736575ULL ^ key, 0x646f72616e646f6dULL ^ key, 0x6c7967656e657261ULL ^ key,
		      0x7465646279746573ULL ^ key ^ block};

	sip_round(v);
	v[0] ^= block;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline __u32 maglev_place(__u32 value)
{
	return bounded(maglev_hash(value, MAGLEV_KEY_1) % MAGLEV_PLACES, MAGLEV_LIMIT - 1);
}

struct mh_fallback {
	struct maglev *table;
	__u32 number; /* of the client */
	__u32 place;  /* the one that cannot be used */
	__u32 best;
};

static long mh_fallback_visit(__u32 index, void *context)
{
	struct mh_fallback *fallback = context;
	__u32 offset = (index + fallback->place) % MAGLEV_PLACES;
	__u32 slot = fallback->table->slot[maglev_place(fallback->number + offset)];

	fallback->best = usable_or_none(slot);
	return fallback->best || !slot;
}

static __always_inline __u32 mh_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	struct maglev *table = bpf_map_lookup_elem(&maglevs, &slot);
	struct mh_fallback fallback = {.table = table, .number = client_number(service, flow)};
	__u32 best;

	if (!table)
		return 0;
	fallback.place = maglev_place(fallback.number);
	best = table->slot[fallback.place];
	if (!best)
		return 0;
	best = usable_or_none(best);
	if (best || !(service->flags & SERVICE_FALLBACK))
		return best;
	bpf_loop(MAGLEV_PLACES, mh_fallback_visit, &fallback, 0);
	return fallback.best;
}

/* Whether a destination's address is higher than another's: that was added later, if they were added in order. */
static __always_inline int is_higher(__u32 a, __u32 b)
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
	struct maglev_scratch *scratch;
	__u32 at;
};

/* Insertion sort: moves the permutation one place forward. */
static long sort_visit(__u32 index, void *context)
{
	struct sorting *sorting = context;
	struct permutation *own = &sorting->scratch->permutation[sorting->at % DESTINATIONS_MAX];
	struct permutation *before = &sorting->scratch->permutation[(sorting->at - 1) % DESTINATIONS_MAX], moved;

	if (!sorting->at || !is_higher(own->slot, before->slot))
		return 1;
	moved = *before;
	*before = *own;
	*own = moved;
	sorting->at--;
	return 0;
}

struct permuting {
	struct maglev_scratch *scratch;
	__u32 slot;
	__u32 gcd;
	__u32 shift;
	__u32 count;
};

static long permute_visit(__u32 index, void *context)
{
	struct permuting *permuting = context;
	struct destination *destination = destination_get(permuting->slot);
	__u32 number, turns;
	struct permutation *own;

	if (!destination || index >= DESTINATIONS_MAX)
		return 1;
	own = &permuting->scratch->permutation[index % DESTINATIONS_MAX];
	number = bpf_ntohs(destination->port) + bpf_ntohl(addr_fold(&destination->address));
	turns = (__u32)destination->last_weight / permuting->gcd >> (permuting->shift & 31);
	own->slot = permuting->slot;
	own->next = maglev_hash(number, MAGLEV_KEY_1) % MAGLEV_PLACES;
	own->skip = maglev_hash(number, MAGLEV_KEY_2) % (MAGLEV_PLACES - 1) + 1;
	own->turns = turns ?: destination->last_weight != 0;
	permuting->count++;
	permuting->slot = destination->next;
	if (permuting->scratch->table.sorted) {
		struct sorting sorting = {.scratch = permuting->scratch, .at = index % DESTINATIONS_MAX};

		bpf_loop(DESTINATIONS_MAX, sort_visit, &sorting, 0);
	}
	return !permuting->slot;
}

/* One try of one destination: the next place of its permutation, taken if it is free. */
static long fill_visit(__u32 index, void *context)
{
	struct maglev_scratch *scratch = *(struct maglev_scratch **)context;
	struct permutation *own = &scratch->permutation[scratch->cursor % DESTINATIONS_MAX];
	__u32 place = bounded(own->next % MAGLEV_PLACES, MAGLEV_LIMIT - 1);

	if (own->turns) {
		own->next = (place + own->skip) % MAGLEV_PLACES;
		if (scratch->table.slot[place])
			return 0;
		scratch->table.slot[place] = own->slot;
		if (++scratch->filled >= MAGLEV_PLACES)
			return 1;
		if (++scratch->taken < own->turns)
			return 0;
	}
	scratch->taken = 0;
	scratch->cursor = scratch->cursor + 1 >= scratch->count ? 0 : scratch->cursor + 1;
	return 0;
}

static long clear_visit(__u32 index, void *context)
{
	struct maglev_scratch *scratch = *(struct maglev_scratch **)context;

	if (index < MAGLEV_PLACES)
		scratch->table.slot[index] = 0;
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

/* Fills the table anew. A quiesced destination keeps the places that it had by its last weight, as in the kernel. */
static __always_inline void mh_changed(struct service *service, __u32 slot, int fresh)
{
	__u32 zero = 0;
	struct maglev_scratch *scratch = bpf_map_lookup_elem(&maglev_scratch, &zero);
	struct permuting permuting = {.scratch = scratch, .slot = service->first};
	struct survey survey = survey_destinations(service);

	if (!scratch)
		return;
	bpf_loop(MAGLEV_PLACES, clear_visit, &scratch, 0);
	scratch->table.sorted = settings.sloppy_tcp != 0;
	permuting.gcd = survey.gcd_of_last;
	if (survey.gcd_of_last) {
		__u32 bits = highest_bit((__u32)survey.max_last_weight / survey.gcd_of_last);

		permuting.shift = bits > MAGLEV_WEIGHT_BITS ? bits - MAGLEV_WEIGHT_BITS : 0;
		bpf_loop(DESTINATIONS_MAX, permute_visit, &permuting, 0);
		scratch->cursor = 0;
		scratch->filled = 0;
		scratch->taken = 0;
		scratch->count = permuting.count;
		bpf_loop(MAGLEV_STEPS_MAX, fill_visit, &scratch, 0);
	}
	bpf_map_update_elem(&maglevs, &slot, &scratch->table, BPF_ANY);
}

/* sloppy_tcp decides the order of turns, and was changed. */
static __always_inline int mh_outdated(__u32 slot)
{
	struct maglev *table = bpf_map_lookup_elem(&maglevs, &slot);

	return table && table->sorted != (settings.sloppy_tcp != 0);
}

static __always_inline void mh_ended(__u32 slot)
{
	bpf_map_delete_elem(&maglevs, &slot);
}

#endif
