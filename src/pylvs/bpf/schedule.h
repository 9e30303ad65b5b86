/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The first packet of a flow: which destination, and the entry that remembers it. Once a connection; the functions
 * here are global, so that the verifier looks at them once and the packet's way stays short. */
#ifndef PYLVS_SCHEDULE_H
#define PYLVS_SCHEDULE_H

#include "connection.h"
#include "service.h"
#include "schedulers/dh.h"
#include "schedulers/fo.h"
#include "schedulers/lblc.h"
#include "schedulers/lblcr.h"
#include "schedulers/lc.h"
#include "schedulers/mh.h"
#include "schedulers/nq.h"
#include "schedulers/ovf.h"
#include "schedulers/rr.h"
#include "schedulers/sed.h"
#include "schedulers/sh.h"
#include "schedulers/twos.h"
#include "schedulers/wlc.h"
#include "schedulers/wrr.h"

/* Where a packet goes: a destination, and the entry if there is one. */
struct choice {
	__u32 destination;
	__u32 number; /* of the connection + 1; 0: this packet only */
	__be16 rport;
	__u8 method;
	__u8 stateless; /* there was no room for an entry */
	__u32 outcome;  /* why there is no destination */
};

/* The client begins anew: ends its old connection. IPVS leaves that to a timer, which runs when the new one has been
 * scheduled; so the old one counts until `replaced`. */
__noinline int replace(__u32 number, __u32 now)
{
	struct connection *old = connection_get(number);
	struct scratch *scratch = scratch_get();
	struct destination *destination;

	if (!old || !scratch)
		return 0;
	scratch->replaced = old->destination;
	scratch->replaced_flags = old->flags & CONN_INACTIVE;
	destination = destination_get(old->destination);
	if (destination)
		count_bound(destination, scratch->replaced_flags, 1);
	connection_end(old, now, settings.second);
	return 0;
}

__noinline int replaced(void)
{
	struct scratch *scratch = scratch_get();
	struct destination *destination = scratch ? destination_get(scratch->replaced) : 0;

	if (destination)
		unbind_connection(destination, scratch->replaced_flags);
	return 0;
}

/* Slot of the destination that the service's scheduler picks, 0: none. */
__noinline __u32 schedule(struct flow *flow, __u32 slot)
{
	struct service *service = service_get(slot);

	if (!service || !flow)
		return 0;
	switch (service->scheduler) {
	case SCHED_RR: return rr_schedule(service);
	case SCHED_WRR: return wrr_schedule(service, slot);
	case SCHED_LC: return lc_schedule(service);
	case SCHED_WLC: return wlc_schedule(service);
	case SCHED_LBLC: return lblc_schedule(service, slot, flow);
	case SCHED_LBLCR: return lblcr_schedule(service, slot, flow, settings.second);
	case SCHED_DH: return dh_schedule(service, slot, flow);
	case SCHED_SH: return sh_schedule(service, slot, flow);
	case SCHED_MH: return mh_schedule(service, slot, flow);
	case SCHED_SED: return sed_schedule(service);
	case SCHED_NQ: return nq_schedule(service);
	case SCHED_FO: return fo_schedule(service);
	case SCHED_OVF: return ovf_schedule(service);
	case SCHED_TWOS: return twos_schedule(service);
	}
	return 0;
}

struct rendezvous {
	__u32 slot;
	__u32 best;
	__u64 client;
	__u64 best_score;
	__u64 best_hash;
};

/* -log2(x / 2^32) in 16.16 fixed point, from the position of the highest bit and a square's worth of correction. */
static __always_inline __u64 minus_log2(__u32 x)
{
	__u32 shift = 0, fraction;

	x = x ?: 1;
	for (int step = 16; step; step >>= 1) {
		if (!(x >> (32 - step))) {
			x <<= step;
			shift += step;
		}
	}
	fraction = (x << 1) >> 16; /* what follows the leading one: x = 2^31 (1 + fraction / 2^16) */
	/* log2(1 + f) is f + 0.344 f (1 - f), to within 0.4 % */
	fraction += (((__u64)fraction * (65536 - fraction)) >> 16) * 22544 >> 16;
	return ((__u64)(shift + 1) << 16) - fraction;
}

/* Every bit of the result depends on every bit of the value. */
static __always_inline __u64 mixed(__u64 value)
{
	value = (value ^ value >> 32) * MIX_1;
	value = (value ^ value >> 29) * MIX_2;
	return value ^ value >> 32;
}

static long rendezvous_visit(__u32 index, void *context)
{
	struct rendezvous *rendezvous = context;
	__u32 slot = rendezvous->slot;
	struct destination *destination = destination_get(slot);
	__u64 hash, score;

	if (!destination)
		return 1;
	rendezvous->slot = destination->next;
	if (destination->weight <= 0)
		return !rendezvous->slot;
	hash = mixed(rendezvous->client ^ mixed(destination->address.low ^ destination->address.high * MIX_2 ^
						(__u64)destination->port << 16));
	/* Weighted rendezvous hashing: the least -log(random) / weight wins. */
	score = (minus_log2(hash >> 32) << 24) / (__u32)destination->weight;
	/* Of equals not the first, which another director may have elsewhere in its list. */
	if (!rendezvous->best || score < rendezvous->best_score ||
	    (score == rendezvous->best_score && hash < rendezvous->best_hash)) {
		rendezvous->best = slot;
		rendezvous->best_score = score;
		rendezvous->best_hash = hash;
	}
	return !rendezvous->slot;
}

/* The destination that a consistent hash gives: of the client, and of nothing that a second director would not know too.
 * Taken where the table has no room: a flow stays where it is as long as its destination does. */
__noinline __u32 schedule_consistently(struct flow *flow, __u32 slot)
{
	struct service *service = service_get(slot);
	struct rendezvous rendezvous = {};

	if (!flow || !service)
		return 0;
	if (service->scheduler == SCHED_MH)
		return mh_schedule(service, slot, flow); /* it needs no memory either */
	rendezvous.slot = service->first;
	rendezvous.client = mixed(flow->saddr.low ^ flow->saddr.high * MIX_2 ^ (__u64)flow->sport << 16);
	bpf_loop(DESTINATIONS_MAX, rendezvous_visit, &rendezvous, 0);
	return rendezvous.best;
}

static __always_inline int table_is_pressed(__u32 now)
{
	return settings.table_pressed && tick_before(now, settings.table_pressed + 60 * settings.second);
}

/* What an entry has from its place in the table. */
struct claim {
	__u32 tag;
	__u32 flags; /* of connection_flag: how many table_buckets it passed, and whether it must be chosen by consistent hash */
};

/* A place for an entry, claimed: at home or, that being full, in another of its sets. The number + 1, or 0. */
static __always_inline __u32 connection_claim_candidate(struct claim *place, __u64 hash, const struct addr *virtual,
							__be16 vport, __u32 now)
{
	for (__u32 passed = 0; passed < CANDIDATES; passed++) {
		__u32 number = connection_claim(bucket_of_hash(hash), tag_of_hash(hash), now, 0);

		if (number) {
			place->tag = tag_of_hash(hash);
			place->flags = passed * CONN_AWAY;
			return number;
		}
		hash = hash_next(hash, virtual, vport);
	}
	return 0;
}

/* A template for clients of this network, claimed and published: its number + 1, or 0. */
static __always_inline __u32 template_new(struct connection *template, __u32 now)
{
	__u64 hash = hash_client(&template->client, 0, template->protocol);
	struct claim place = {.tag = tag_of_hash(hash)};
	__u32 number = connection_claim_candidate(&place, hash, &template->virtual, template->vport, now);
	struct destination *destination = destination_get(template->destination);
	struct connection *entry;

	if (!number)
		number = connection_claim(bucket_of_hash(hash), place.tag, now, 1);
	if (!number || !destination)
		return 0;
	entry = connection_get(number - 1);
	if (!entry)
		return 0;
	template->tag = TAG_BUSY;
	template->flags |= place.flags;
	*entry = *template;
	if (place.flags)
		count_overflow(entry, 1);
	bind_connection(destination, CONN_TEMPLATE);
	connection_publish(entry, number - 1, place.tag);
	return number;
}

static __always_inline int template_is_valid(const struct connection *template, const struct destination *destination)
{
	if (!destination || !(destination->flags & DEST_AVAILABLE))
		return 0;
	return !settings.expire_quiescent_template || destination->weight > 0;
}

/* The live template like this one in one of its sets: its number + 1, or 0. One whose destination went is put aside. */
__noinline __u32 template_in_bucket(struct connection *like, __u32 bucket_number, __u32 tag, __u32 now)
{
	struct connection_bucket *set = connection_bucket_get(bucket_number);

	if (!like || !set)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *entry = &set->way[way];

		if (entry->tag != tag || !(entry->flags & CONN_TEMPLATE) || entry->flags & CONN_INVALID)
			continue;
		if (!addr_equal(&entry->client, &like->client) || !addr_equal(&entry->virtual, &like->virtual) ||
		    entry->vport != like->vport || entry->protocol != like->protocol)
			continue;
		if (connection_expired(entry, now) && !entry->control)
			continue;
		if (template_is_valid(entry, destination_get(entry->destination)))
			return bucket_number * WAYS + way + 1;
		entry->flags |= CONN_INVALID;
	}
	return 0;
}

static __always_inline __u32 template_find(struct connection *like, __u32 now)
{
	__u64 hash = hash_client(&like->client, 0, like->protocol);
	__u32 number = template_in_bucket(like, bucket_of_hash(hash), tag_of_hash(hash), now);

	for (int passed = 1; !number && passed < CANDIDATES && has_overflow(bucket_of_hash(hash)); passed++) {
		hash = hash_next(hash, &like->virtual, like->vport);
		number = template_in_bucket(like, bucket_of_hash(hash), tag_of_hash(hash), now);
	}
	return number;
}

/* Persistence (ip_vs_sched_persist): the client's network has a template; it decides, or the scheduler does and a new
 * template remembers. Gives the destination's slot and the template's number. */
static __always_inline __u32 schedule_persistently(struct service *service, __u32 slot, struct flow *flow,
						   __u32 *template_number, __u32 *outcome)
{
	struct scratch *scratch = scratch_get();
	struct connection *entry, *like;
	struct destination *destination;

	if (!scratch)
		return 0;
	like = &scratch->template;
	__builtin_memset(like, 0, sizeof(*like));
	like->flags = CONN_TEMPLATE;
	like->protocol = flow->protocol;
	like->virtual = flow->daddr;

	like->client.low = flow->saddr.low & service->netmask.low;
	like->client.high = flow->saddr.high & service->netmask.high;
	if (flow->dport == service->port) {
		like->vport = flow->dport;
	} else if (service->fwmark) {
		like->protocol = PROTO_NONE;
		like->virtual.high = 0;
		like->virtual.low = (__u64)bpf_htonl(service->fwmark) << 32 | (flow->family == 4 ? 0xffff0000ULL : 0);
	}
	*template_number = template_find(like, flow->now);
	if (*template_number) {
		entry = connection_get(*template_number - 1);
		if (!entry)
			return 0;
		entry->expires = flow->now + entry->timeout;
		due_by((*template_number - 1) / WAYS, entry->expires);
		return entry->destination;
	}
	like->destination = schedule(flow, slot);
	destination = destination_get(like->destination);
	if (!like->destination || !destination)
		return 0;
	like->method = destination->method;
	like->rport = flow->dport == service->port ? destination->port : 0;
	like->timeout = service->timeout;
	like->expires = flow->now + service->timeout;
	*template_number = template_new(like, flow->now);
	if (!*template_number)
		*outcome = DROP_NO_ENTRY;
	return *template_number ? like->destination : 0;
}

static __always_inline int fullnat_bind(struct connection *connection, struct destination *destination,
					struct flow *flow, __u32 number);
static __always_inline int reply_remember(struct connection *connection, struct destination *destination, __u32 number);

/* A place for the flow's connection, if need be that of a half-open one: number + 1, or 0 where the table is full. */
__noinline __u32 claim_entry(struct flow *flow, struct claim *place)
{
	__u32 number;
	__u64 hash;

	if (!flow || !place)
		return 0;
	hash = hash_client(&flow->saddr, flow->sport, flow->protocol);
	number = connection_claim_candidate(place, hash, &flow->daddr, flow->dport, flow->now);
	if (unlikely(!number)) {
		settings.table_pressed = flow->now ?: 1;
		place->tag = tag_of_hash(hash);
		place->flags = CONN_HASHED;
		number = connection_claim(bucket_of_hash(hash), place->tag, flow->now, 1);
	}
	/* The table was full: this may be in the middle of a flow that found no room for an entry then. */
	if (unlikely(table_is_pressed(flow->now)) && (flow->protocol == PROTO_UDP || !(flow->flags & FLOW_OPENS)))
		place->flags |= CONN_HASHED;
	return number;
}

/* Writes the entry of a new connection, claimed at choice->number, and counts it. Returns 0, or an outcome that ends the
 * packet. */
__noinline int connection_enter(struct flow *flow, struct choice *choice, struct claim *place, __u32 template)
{
	struct destination *destination;
	struct connection *entry;
	__u32 number;

	if (!flow || !choice || !place)
		return DROP_ERROR;
	destination = destination_get(choice->destination);
	number = choice->number;
	entry = connection_get(number - 1);
	if (!destination || !entry)
		return DROP_ERROR;
	entry->client = flow->saddr;
	entry->virtual = flow->daddr;
	entry->cport = flow->sport;
	entry->vport = flow->dport;
	entry->destination = choice->destination;
	entry->control = template;
	entry->rport = choice->rport;
	entry->state = 0;
	entry->protocol = flow->protocol;
	entry->flags = place->flags | CONN_INACTIVE;
	if (choice->method != METHOD_NAT && choice->method != METHOD_FULLNAT)
		entry->flags |= CONN_NO_OUTPUT;
	entry->method = choice->method;
	entry->lport = 0;
	entry->timeout = 0;
	entry->expires = flow->now + 2 * settings.second;
	if (choice->method == METHOD_FULLNAT && fullnat_bind(entry, destination, flow, number))
		return DROP_NO_PORT;
	if (entry->flags >= CONN_AWAY) {
		count_overflow(entry, 1);
		if (choice->method == METHOD_NAT)
			reply_remember(entry, destination, number);
	}
	bind_connection(destination, entry->flags);
	if (template) {
		struct connection *control = connection_get(template - 1);

		if (control)
			__sync_fetch_and_add(&control->control, 1);
	}
	connection_publish(entry, number - 1, place->tag);
	return 0;
}

/* Fills in what the chosen destination says. */
static __always_inline void choose(struct choice *choice, struct destination *destination, struct service *service,
				   struct flow *flow)
{
	int keep_port = service->flags & SERVICE_PERSISTENT && flow->dport != service->port;

	choice->method = destination->method;
	choice->rport = destination->port && !keep_port ? destination->port : flow->dport;
}

static __always_inline __u32 pick(struct service *service, __u32 slot, struct flow *flow, int consistently)
{
	if (!service->fwmark && flow->dport != service->port)
		return 0; /* port zero is for persistent services only */
	return unlikely(consistently) ? schedule_consistently(flow, slot) : schedule(flow, slot);
}

/* The place first and then the destination, since where there is no place only a consistent hash will do: this packet,
 * and every other of its flow, goes where it says. */
static __always_inline __u32 connect_to(struct flow *flow, __u32 slot, struct service *service, struct choice *choice)
{
	int one_packet = service->flags & SERVICE_ONE_PACKET && flow->protocol == PROTO_UDP;
	__u32 template = 0, outcome = REFUSE_NO_DESTINATION;
	struct destination *destination;
	struct claim place = {};

	if (!one_packet)
		choice->number = claim_entry(flow, &place);
	if (service->flags & SERVICE_PERSISTENT) {
		place.flags &= ~CONN_HASHED;
		choice->destination = schedule_persistently(service, slot, flow, &template, &outcome);
	} else {
		choice->destination = pick(service, slot, flow, place.flags & CONN_HASHED);
	}
	destination = destination_get(choice->destination);
	if (!choice->destination || !destination)
		return outcome;
	choose(choice, destination, service, flow);
	if (one_packet && choice->method != METHOD_FULLNAT)
		return 0;
	if (one_packet)
		choice->number = claim_entry(flow, &place);
	if (choice->number)
		return connection_enter(flow, choice, &place, template);
	choice->stateless = 1;
	return template || choice->method == METHOD_NAT || choice->method == METHOD_FULLNAT ? DROP_NO_ENTRY : 0;
}

/* Gives back a place that was claimed and not filled. */
static __always_inline void claim_release(struct choice *choice)
{
	struct connection *entry = choice->number ? connection_get(choice->number - 1) : 0;

	if (entry && entry->tag == TAG_BUSY)
		__sync_lock_test_and_set(&entry->tag, TAG_FREE);
	choice->number = 0;
}

/* A flow without a connection, for the service in `slot`: chooses a destination and enters the connection.
 * With choice->destination 0, choice->outcome says why there is none. */
__noinline int connection_new(struct flow *flow, __u32 slot, struct choice *choice)
{
	struct service *service = service_get(slot);

	if (!flow || !choice || !service)
		return 0;
	choice->outcome = connect_to(flow, slot, service, choice);
	if (choice->outcome == REFUSE_NO_DESTINATION && service->fwmark && settings.cache_bypass)
		choice->outcome = PASS_BYPASS;
	if (choice->outcome) {
		claim_release(choice);
		choice->destination = 0;
		return 0;
	}
	flow->chosen = choice->destination;
	count_connection(destination_get(choice->destination));
	return 0;
}

#endif
