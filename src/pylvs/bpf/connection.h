/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Connections: how one is found, advances, is evicted and ends.
 *
 * 1. connection_find() looks in the primary bucket, and in the other candidates if that one ever overflowed. A
 *    reply of NAT is looked for in the primary bucket only (replies.h finds the others). An entry that has expired
 *    is not found, whether the sweep has come by or not.
 * 2. connection_touch() refreshes the timer. Any packet but an ACK of an established connection or a datagram goes
 *    through the state machine as well (states.h), which moves the connection between the counts of its
 *    destination.
 * 3. claim_entry() finds a free or expired entry for a new flow in one of its candidate buckets; failing that it
 *    evicts a half-open connection from the primary bucket; failing that the flow gets no entry
 *    (docs/decisions/0003).
 * 4. connection_end() takes an entry out of the table, and out of the counts of its destination and its template. */
#ifndef PYLVS_CONNECTION_H
#define PYLVS_CONNECTION_H

#include "count.h"
#include "replies.h"
#include "states.h"

/* Thresholds: overloaded at the upper one, and no longer when ip_vs_unbind_dest() would say so. */
static __always_inline void overload_on(struct destination *destination)
{
	if (destination->upper && (__u32)(destination->active + destination->inactive) >= destination->upper)
		__sync_fetch_and_or(&destination->flags, DEST_OVERLOAD);
}

static __always_inline void overload_off(struct destination *destination)
{
	__u32 total = destination->active + destination->inactive;

	if (!(destination->flags & DEST_OVERLOAD))
		return;
	if (destination->lower   ? total < destination->lower
	    : destination->upper ? total * 4 < destination->upper * 3
				 : 1)
		__sync_fetch_and_and(&destination->flags, ~DEST_OVERLOAD);
}

static __always_inline void count_bound(struct destination *destination, __u8 flags, int step)
{
	if (flags & CONN_TEMPLATE)
		__sync_fetch_and_add(&destination->persistent, step);
	else if (flags & CONN_INACTIVE)
		__sync_fetch_and_add(&destination->inactive, step);
	else
		__sync_fetch_and_add(&destination->active, step);
}

static __always_inline void bind_connection(struct destination *destination, __u8 flags)
{
	count_bound(destination, flags, 1);
	overload_on(destination);
}

static __always_inline void unbind_connection(struct destination *destination, __u8 flags)
{
	count_bound(destination, flags, -1);
	overload_off(destination);
}

enum { TEMPLATE_HELD_SECONDS = 60 };

/* Takes an entry out of the table and out of the counts. A template that still controls connections stays for another
 * minute, as in IPVS. Returns whether the entry is free now. */
__noinline int connection_end(struct connection *connection, __u32 now, __u32 second)
{
	struct destination *destination;
	__u32 tag, template = 0;

	if (!connection)
		return 0;
	tag = *(volatile __u32 *)&connection->tag;
	if (tag < TAG_FIRST)
		return 0;
	if (connection->flags & CONN_TEMPLATE) {
		if (connection->control) {
			connection->expires = now + TEMPLATE_HELD_SECONDS * second;
			return 0;
		}
	} else {
		template = connection->control;
	}
	if (__sync_val_compare_and_swap(&connection->tag, tag, TAG_BUSY) != tag)
		return 0;
	destination = destination_get(connection->destination);
	if (destination)
		unbind_connection(destination, connection->flags);
	if (!(connection->flags & CONN_TEMPLATE))
		reply_forget(connection);
	if (overflow_of(connection->flags))
		count_overflow(connection, -1);
	if (template) {
		struct connection *of = connection_get(template - 1);

		if (of)
			__sync_fetch_and_add(&of->control, -1);
	}
	__sync_lock_test_and_set(&connection->tag, TAG_FREE);
	return 1;
}

static __always_inline int is_client_of(const struct connection *connection, const struct flow *flow)
{
	return connection->client.low == flow->saddr.low &&
	       *(const __u32 *)&connection->cport == *(const __u32 *)&flow->sport && /* and vport, dport */
	       connection->virtual.low == flow->daddr.low && connection->client.high == flow->saddr.high &&
	       connection->virtual.high == flow->daddr.high && connection->protocol == flow->protocol &&
	       !(connection->flags & CONN_TEMPLATE);
}

/* The destination of this NAT connection, if it sent this packet; else 0. */
static __always_inline struct destination *server_of(const struct connection *connection, const struct flow *flow)
{
	struct destination *destination;

	if (connection->client.low != flow->daddr.low || connection->cport != flow->dport ||
	    connection->rport != flow->sport || connection->client.high != flow->daddr.high ||
	    connection->protocol != flow->protocol || connection->method != METHOD_NAT ||
	    (connection->flags & CONN_TEMPLATE))
		return 0;
	destination = destination_get(connection->destination);
	return destination && addr_equal(&destination->address, &flow->saddr) ? destination : 0;
}

/* The connection of this tag in the bucket: number + 1, or 0. */
static __always_inline __u32 find_in_bucket(struct flow *flow, int reply, __u32 bucket_number, __u32 tag,
					    struct found *found)
{
	struct connection_bucket *bucket = bucket_get(bucket_number);

	if (!bucket)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *connection = &bucket->way[way];

		if (connection->tag != tag)
			continue;
		/* Else clang reads all of the flow before the loop, and computes the entry's address for each field. */
		asm volatile("" : "+r"(connection) : : "memory");
		if (reply)
			found->server = server_of(connection, flow);
		if (reply ? !found->server : !is_client_of(connection, flow))
			continue;
		if (connection_expired(connection, flow->now))
			continue;
		found->connection = connection;
		return bucket_number * WAYS + way + 1;
	}
	return 0;
}

/* Looks for a client's connection in the candidates after the primary bucket. Rarely run, so out of line. */
__noinline __u32 connection_find_overflow(struct flow *flow)
{
	struct found found = {};
	__u32 number = 0;
	__u64 hash;

	if (!flow)
		return 0;
	hash = hash_client(&flow->saddr, flow->sport, flow->protocol);
	for (int passed = 1; !number && passed < CANDIDATES && has_overflow(bucket_of_hash(hash)); passed++) {
		hash = hash_next(hash, &flow->daddr, flow->dport);
		number = find_in_bucket(flow, 0, bucket_of_hash(hash), tag_of_hash(hash), &found);
	}
	return number;
}

/* The connection whose client (with `reply`: whose real server, by NAT) sent this packet: number + 1, or 0. */
static __always_inline __u32 connection_find(struct flow *flow, int reply, struct found *found)
{
	__u64 hash = reply ? hash_client(&flow->daddr, flow->dport, flow->protocol)
			   : hash_client(&flow->saddr, flow->sport, flow->protocol);
	__u32 number = find_in_bucket(flow, reply, bucket_of_hash(hash), tag_of_hash(hash), found);

	if (likely(number) || reply || !has_overflow(bucket_of_hash(hash)))
		return number;
	number = connection_find_overflow(flow);
	found->connection = number ? connection_get(number - 1) : 0;
	return number;
}

/* Out-of-line connection_find() for slow paths, which share it so that the program stays small. */
__noinline __u32 connection_lookup(struct flow *flow, int reply)
{
	struct found found = {};

	if (!flow)
		return 0;
	return reply ? connection_find(flow, 1, &found) : connection_find(flow, 0, &found);
}

enum { HANDSHAKE_SECONDS = 3, SYN_RECV_SECONDS = 60 };

/* Whether a half-open connection may be evicted: if the consistent hash chose its destination, which it then does
 * again, or if it is older than any handshake takes. */
static __always_inline int may_evict(const struct connection *connection, __u32 now, __u32 second)
{
	if (connection->flags & CONN_TEMPLATE)
		return 0;
	if (connection->protocol == PROTO_TCP && connection->state == TCP_SYN_RECV)
		return (connection->flags & CONN_HASHED) ||
		       tick_before(connection->expires, now + (SYN_RECV_SECONDS - HANDSHAKE_SECONDS) * second);
	return 0;
}

/* Claims a free or expired entry of the bucket or, with `evict`, that of a half-open connection: number + 1, or 0. */
__noinline __u32 connection_claim(__u32 bucket_number, __u32 tag, __u32 now, int evict)
{
	struct connection_bucket *bucket = bucket_get(bucket_number);
	__u32 victim = WAYS;

	if (!bucket)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *connection = &bucket->way[way];

		if (connection->tag == TAG_FREE) {
			if (__sync_val_compare_and_swap(&connection->tag, TAG_FREE, TAG_BUSY) == TAG_FREE)
				return bucket_number * WAYS + way + 1;
			continue;
		}
		if (connection_expired(connection, now) ? !((connection->flags & CONN_TEMPLATE) && connection->control)
							: evict && may_evict(connection, now, settings.second))
			victim = way;
	}
	if (victim < WAYS) {
		struct connection *connection = &bucket->way[bounded(victim, WAYS - 1)];

		if (connection_end(connection, now, settings.second) &&
		    __sync_val_compare_and_swap(&connection->tag, TAG_FREE, TAG_BUSY) == TAG_FREE)
			return bucket_number * WAYS + victim + 1;
	}
	return 0;
}

/* What an entry has from where it was claimed. */
struct claim {
	__u32 tag;
	__u32 flags; /* of connection_flag: CONN_OVERFLOW, and CONN_HASHED if the consistent hash must choose */
};

/* Claims an entry in one of the candidate buckets: number + 1, or 0. */
static __always_inline __u32 claim_candidate(struct claim *claim, __u64 hash, const struct addr *virtual, __be16 vport,
					     __u32 now)
{
	for (__u32 passed = 0; passed < CANDIDATES; passed++) {
		__u32 number = connection_claim(bucket_of_hash(hash), tag_of_hash(hash), now, 0);

		if (number) {
			claim->tag = tag_of_hash(hash);
			claim->flags = overflow_flags(passed);
			return number;
		}
		hash = hash_next(hash, virtual, vport);
	}
	return 0;
}

/* Claims an entry for the flow's connection, if need be that of a half-open one: number + 1, or 0 where the table is
 * full. */
__noinline __u32 claim_entry(struct flow *flow, struct claim *claim)
{
	__u32 number;
	__u64 hash;

	if (!flow || !claim)
		return 0;
	hash = hash_client(&flow->saddr, flow->sport, flow->protocol);
	number = claim_candidate(claim, hash, &flow->daddr, flow->dport, flow->now);
	if (unlikely(!number)) {
		settings.table_pressed = flow->now ?: 1;
		claim->tag = tag_of_hash(hash);
		claim->flags = CONN_HASHED;
		number = connection_claim(bucket_of_hash(hash), claim->tag, flow->now, 1);
	}
	/* In the minute after, this may be the middle of a flow that found no room for an entry. */
	if (unlikely(table_is_pressed(flow->now)) && (flow->protocol == PROTO_UDP || !(flow->flags & FLOW_OPENS)))
		claim->flags |= CONN_HASHED;
	return number;
}

/* Gives back an entry that was claimed and not published. */
static __always_inline void claim_release(__u32 number)
{
	struct connection *entry = number ? connection_get(number - 1) : 0;

	if (entry && entry->tag == TAG_BUSY)
		__sync_lock_test_and_set(&entry->tag, TAG_FREE);
}

/* Marks the connection's persistence template as assured. */
static __always_inline void template_assure(const struct connection *connection)
{
	struct connection *template;

	if (!connection->control)
		return;
	template = connection_get(connection->control - 1);
	if (template)
		template->state = TEMPLATE_ASSURED;
}

/* Moves a connection between the counts of active and inactive ones. */
static __always_inline void count_state(struct connection *connection, struct destination *destination, int active)
{
	int inactive = connection->flags & CONN_INACTIVE;

	if (active && inactive) {
		__sync_fetch_and_add(&destination->active, 1);
		__sync_fetch_and_add(&destination->inactive, -1);
		connection->flags &= ~CONN_INACTIVE;
	} else if (!active && !inactive) {
		__sync_fetch_and_add(&destination->active, -1);
		__sync_fetch_and_add(&destination->inactive, 1);
		connection->flags |= CONN_INACTIVE;
	}
}

static __always_inline __u32 timeout_of(__u8 protocol, __u8 state)
{
	if (protocol == PROTO_TCP)
		return settings.tcp_timeout[bounded(state, STATES - 1)];
	if (protocol == PROTO_UDP)
		return settings.udp_timeout[UDP_NORMAL];
	return settings.sctp_timeout[bounded(state, STATES - 1)];
}

static __always_inline void connection_refresh(struct connection *connection, __u32 number, __u32 expires)
{
	int sooner = tick_before(expires, connection->expires);

	if (expires == connection->expires)
		return;
	connection->expires = expires;
	if (unlikely(sooner))
		due_by(number / WAYS, expires);
}

static __always_inline __u8 next_state(const struct connection *connection, const struct flow *flow,
				       enum direction direction)
{
	if (flow->fragment == FRAGMENT_LATER)
		return connection->state;
	if (flow->protocol == PROTO_TCP)
		return tcp_transition(connection->state, flow->event, direction, settings.secure_tcp == DEFENCE_ALWAYS);
	if (flow->protocol == PROTO_SCTP)
		return sctp_transition(connection->state, flow->event, direction);
	return connection->state;
}

static __always_inline int is_active(__u8 protocol, __u8 state)
{
	return protocol == PROTO_TCP ? tcp_is_active(state) : protocol == PROTO_SCTP && state == SCTP_ESTABLISHED;
}

static __always_inline int is_assured(__u8 protocol, __u8 state, int direction)
{
	if (protocol == PROTO_UDP)
		return direction == FROM_SERVER; /* the real server replies */
	return protocol == PROTO_TCP ? state == TCP_ESTABLISHED : state == SCTP_ESTABLISHED;
}

/* What a packet does to its connection: state, counts, timer. */
__noinline int connection_advance(struct flow *flow, __u32 number, int direction)
{
	struct connection *connection = connection_get(number);
	struct destination *destination;
	__u8 state;

	if (!flow || !connection)
		return 0;
	if (connection->flags & CONN_NO_OUTPUT)
		direction = CLIENT_ONLY;
	state = next_state(connection, flow, direction);
	if (state != connection->state) {
		destination = destination_get(connection->destination);
		if (destination)
			count_state(connection, destination, is_active(flow->protocol, state));
		connection->state = state;
	}
	if (connection->control && is_assured(flow->protocol, state, direction))
		template_assure(connection);
	connection_refresh(connection, number, flow->now + timeout_of(flow->protocol, state));
	return 0;
}

/* connection_advance() with an inlined fast path for most packets: ACKs of established connections, and datagrams. */
static __always_inline void connection_touch(struct connection *connection, __u32 number, struct flow *flow,
					     enum direction direction)
{
	if (likely(flow->protocol == PROTO_TCP && flow->event == EVENT_ACK && connection->state == TCP_ESTABLISHED &&
		   !connection->control))
		connection_refresh(connection, number, flow->now + settings.tcp_timeout[TCP_ESTABLISHED]);
	else if (flow->protocol == PROTO_UDP && !connection->control)
		connection_refresh(connection, number, flow->now + settings.udp_timeout[UDP_NORMAL]);
	else
		connection_advance(flow, number, direction);
}

#endif
