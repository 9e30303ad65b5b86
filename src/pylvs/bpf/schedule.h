/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The first packet of a flow: its destination, and the entry that remembers it.
 *
 * 1. The lock of the flow's primary bucket is taken (lock.h). If another CPU has entered the connection meanwhile, that is it.
 * 2. An entry of the table is claimed (connection.h). Whether there is one decides who chooses: only a consistent
 *    hash will do where there is none, since this packet and every other of its flow must go where it says
 *    (rendezvous.h).
 * 3. Else a persistence template decides (persistence.h), or the service's scheduler (schedulers/).
 * 4. The entry is filled in, counted at the destination and published. FULLNAT also claims a port (replies.h).
 * 5. Without an entry the packet is forwarded all the same by the methods that need none, and dropped by NAT and
 *    FULLNAT.
 * It happens once a connection. The functions here are out of line, so that the verifier walks them once and the fast
 * path stays short. */
#ifndef PYLVS_SCHEDULE_H
#define PYLVS_SCHEDULE_H

#include "persistence.h"
#include "rendezvous.h"
#include "service.h"

/* Where a packet goes: a destination, and the entry if there is one. */
struct choice {
	__u32 destination; /* slot, 0: none */
	__u32 number;      /* of the connection + 1; 0: it has no entry */
	__be16 rport;
	__u8 method;
	__u8 stateless; /* the table had no room for an entry */
	__u32 outcome;  /* why there is no destination */
};

/* Ends a connection whose client opens it anew. IPVS leaves that to a timer, which runs when the new one has been
 * scheduled. So the old one counts until then: the caller gives the result to connection_replaced(). */
__noinline __u64 connection_replace(__u32 number, __u32 now)
{
	struct connection *old = connection_get(number);
	struct destination *destination;
	__u64 former;
	__u32 slot;

	if (!old)
		return 0;
	slot = old->destination;
	former = (__u64)slot << 32 | (old->flags & CONN_INACTIVE);
	destination = destination_get(slot);
	if (destination)
		count_bound(destination, former, 1);
	connection_end_now(old, slot, now);
	return former;
}

__noinline int connection_replaced(__u64 former)
{
	struct destination *destination = former ? destination_get(former >> 32) : 0;

	if (destination)
		unbind_connection(destination, former);
	return 0;
}

enum { NEW_SECONDS = 2 }; /* until its first packet advances it */

/* Fills in the entry of a new connection, claimed at choice->number, and counts it; it holds its template from now on. 0,
 * or the outcome if that cannot be. */
__noinline int connection_enter(struct flow *flow, struct choice *choice, struct claim *claim, __u32 template)
{
	struct destination *destination;
	struct connection *entry;
	__u32 number;

	if (!flow || !choice || !claim)
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
	entry->flags = claim->flags | CONN_INACTIVE;
	if (choice->method != METHOD_NAT && choice->method != METHOD_FULLNAT)
		entry->flags |= CONN_NO_OUTPUT;
	entry->method = choice->method;
	entry->lport = 0;
	entry->reply_hop = 0;
	entry->expires = flow->now + NEW_SECONDS * settings.second;
	if (choice->method == METHOD_FULLNAT && reply_claim_port(entry, destination, number))
		return DROP_NO_PORT;
	if (overflow_of(entry->flags)) {
		count_overflow(entry, 1);
		if (choice->method == METHOD_NAT)
			reply_remember(entry, destination, number);
	}
	bind_connection(destination, entry->flags);
	connection_publish(entry, number - 1, claim->tag);
	return 0;
}

/* Where the packets of a known connection go. */
static __always_inline void choice_by_connection(struct choice *choice, const struct connection *connection)
{
	choice->destination = connection->destination;
	choice->rport = connection->rport;
	choice->method = connection->method;
}

/* Where a packet of a new flow goes, once a destination was chosen. */
static __always_inline void choice_by_destination(struct choice *choice, struct destination *destination,
						  struct service *service, struct flow *flow)
{
	int keep_port = (service->flags & SERVICE_PERSISTENT) && flow->dport != service->port;

	choice->method = destination->method;
	choice->rport = destination->port && !keep_port ? destination->port : flow->dport;
}

/* Whether the service takes this port of a flow without persistence: port 0 stands for every port of persistent
 * services only. */
static __always_inline int has_port(const struct service *service, const struct flow *flow)
{
	return service->fwmark || flow->dport == service->port;
}

/* The slot of the destination for a new flow without a template, 0: none. */
static __always_inline __u32 pick(struct service *service, __u32 slot, struct flow *flow, int consistently)
{
	if (!has_port(service, flow))
		return 0;
	return unlikely(consistently) ? schedule_consistently(flow, slot) : schedule(flow, slot);
}

static __always_inline int is_one_packet(const struct service *service, const struct flow *flow)
{
	return (service->flags & SERVICE_ONE_PACKET) && flow->protocol == PROTO_UDP;
}

/* Chooses a destination, and the template, which is held then. 0, or the outcome if there is none. */
static __always_inline __u32 choose(struct flow *flow, __u32 slot, struct service *service, struct choice *choice,
				    struct claim *claim, __u32 *template)
{
	__u32 outcome = REFUSE_NO_DESTINATION;
	struct destination *destination;

	if (service->flags & SERVICE_PERSISTENT) {
		claim->flags &= ~CONN_HASHED;
		choice->destination = schedule_persistently(service, slot, flow, template, &outcome);
	} else {
		choice->destination = pick(service, slot, flow, claim->flags & CONN_HASHED);
	}
	destination = destination_get(choice->destination);
	if (!choice->destination || !destination)
		return outcome;
	choice_by_destination(choice, destination, service, flow);
	return 0;
}

/* Enters the connection to the destination that was chosen, where it is to have an entry and there is one. 0, or the
 * outcome if that cannot be. */
static __always_inline __u32 enter(struct flow *flow, struct service *service, struct choice *choice,
				   struct claim *claim, __u32 template)
{
	int translated = choice->method == METHOD_NAT || choice->method == METHOD_FULLNAT;

	if (is_one_packet(service, flow)) {
		if (choice->method != METHOD_FULLNAT)
			return 0;
		choice->number = claim_entry(flow, claim);
	}
	if (choice->number)
		return connection_enter(flow, choice, claim, template);
	choice->stateless = 1;
	return template || translated ? DROP_NO_ENTRY : 0;
}

/* Chooses a destination and enters the connection. 0, or the outcome if that cannot be. */
static __always_inline __u32 connect_to(struct flow *flow, __u32 slot, struct service *service, struct choice *choice)
{
	__u32 template = 0, outcome;
	struct claim claim = {};

	if (!is_one_packet(service, flow))
		choice->number = claim_entry(flow, &claim);
	outcome = choose(flow, slot, service, choice, &claim, &template);
	if (!outcome)
		outcome = enter(flow, service, choice, &claim, template);
	if (outcome || !choice->number)
		template_release(template);
	return outcome;
}

/* Why a new flow that found no destination ends: with cache_bypass a marked packet goes on to its own destination
 * address. */
static __always_inline enum outcome outcome_without(const struct service *service)
{
	return service->fwmark && settings.cache_bypass ? PASS_BYPASS : REFUSE_NO_DESTINATION;
}

/* Opens a connection to the service in `slot`. The caller holds LOCK_FLOW. */
__noinline int connection_open(struct flow *flow, __u32 slot, struct choice *choice)
{
	struct service *service = service_get(slot);

	if (!flow || !choice || !service)
		return 0;
	choice->outcome = connect_to(flow, slot, service, choice);
	if (choice->outcome == REFUSE_NO_DESTINATION)
		choice->outcome = outcome_without(service);
	if (choice->outcome) {
		claim_release(choice->number);
		choice->number = 0;
		choice->destination = 0;
		return 0;
	}
	flow->chosen = choice->destination;
	count_connection(destination_get(choice->destination));
	return 0;
}

/* Fills in the choice if the flow has a connection, which another CPU has entered since the packet looked. */
static __always_inline int choice_by_flow(struct choice *choice, struct flow *flow)
{
	__u32 number = connection_lookup(flow, 0);
	struct connection *connection = number ? connection_get(number - 1) : 0;

	if (!connection)
		return 0;
	choice->number = number;
	choice_by_connection(choice, connection);
	return 1;
}

/* Opens a connection to the service in `slot`, once for all packets of the flow that come at once. Afterwards the choice
 * has a destination, or an outcome that says why not. */
__noinline int connection_new(struct flow *flow, __u32 slot, struct choice *choice)
{
	__u32 *locks;

	if (!flow || !choice)
		return 0;
	locks = locks_of(hash_client(&flow->saddr, flow->sport, flow->protocol));
	if (!locks || !lock_take(locks, LOCK_FLOW)) {
		choice->outcome = DROP_ERROR;
		return 0;
	}
	if (!choice_by_flow(choice, flow))
		connection_open(flow, slot, choice);
	lock_release(locks, LOCK_FLOW);
	return 0;
}

#endif
