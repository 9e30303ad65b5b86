/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The connection table: table_buckets of eight entries of one cache line each. An entry's home is the set chosen by client
 * address, client port and protocol alone, so that a request and, in NAT, its reply find the same line. Where the home is
 * full, an entry goes to one of three more table_buckets, chosen by the virtual address and port as well; each set counts the
 * entries that had to go on from it. An entry is claimed by compare-and-swap of its tag, filled, and published by writing
 * the tag. */
#ifndef PYLVS_CONNECTION_H
#define PYLVS_CONNECTION_H

#include "count.h"
#include "states.h"

enum { CANDIDATES = 4 }; /* table_buckets that an entry may be in */
enum tag { TAG_FREE = 0, TAG_BUSY = 1, TAG_FIRST = 2 };

/* The golden ratio and a prime of Steele and Vigna's: any odd multiplier that mixes well would do. */
#define MIX_1 0x9e3779b97f4a7c15ULL
#define MIX_2 0xd1342543de82ef95ULL

static __always_inline __u64 hash_client(const struct addr *client, __be16 cport, __u8 protocol)
{
	__u64 hash = (client->low ^ hash_seed) * MIX_1;

	hash ^= hash >> 29;
	hash = (hash ^ client->high ^ ((__u32)cport << 8 | protocol)) * MIX_2;
	return hash ^ hash >> 32;
}

/* The next of an entry's sets: the virtual service is part of it. Neighbouring virtual addresses must spread as well as any
 * others, so every bit is mixed and comes down twice (IPv4's last byte is the highest of `low`). */
static __always_inline __u64 hash_next(__u64 hash, const struct addr *virtual, __be16 vport)
{
	hash = (hash ^ virtual->low) * MIX_1;
	hash = (hash ^ hash >> 32 ^ virtual->high ^ (__u32)vport << 8) * MIX_2;
	hash = (hash ^ hash >> 29) * MIX_1;
	return hash ^ hash >> 32;
}

/* The table has any number of table_buckets, not only a power of two. */
static __always_inline __u32 bucket_of_hash(__u64 hash)
{
	return (hash & 0xffffffff) * table_buckets >> 32;
}

static __always_inline __u32 tag_of_hash(__u64 hash)
{
	__u32 tag = hash >> 32;

	return tag < TAG_FIRST ? tag + TAG_FIRST : tag;
}

static __always_inline struct connection_bucket *connection_bucket_get(__u32 set)
{
	return bpf_map_lookup_elem(&connections, &set);
}

/* By its number: set * WAYS + way. */
static __always_inline struct connection *connection_get(__u32 number)
{
	struct connection_bucket *set = connection_bucket_get(number / WAYS);

	if (!set)
		return 0;
	return &set->way[bounded(number, WAYS - 1)]; /* not before the check, where clang would have it */
}

/* The sweep must come by at `expires`, or sooner. */
static __always_inline void due_by(__u32 set, __u32 expires)
{
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &set);
	__u32 *due_at = summary ? &summary->due : 0;

	if (!due_at)
		return;
	expires = expires ?: 1;
	for (int i = 0; i < 4; i++) {
		__u32 old = *(volatile __u32 *)due_at;

		if (old && !tick_before(expires, old))
			return;
		if (__sync_val_compare_and_swap(due_at, old, expires) == old)
			return;
	}
	*(volatile __u32 *)due_at = 1; /* four rivals in a row: let the sweep look at once */
}

static __always_inline int connection_expired(const struct connection *connection, __u32 now)
{
	return !tick_before(now, connection->expires);
}

/* Thresholds: full at the upper one, taking new connections again as ip_vs_unbind_dest() has it. */
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

/* An entry came to another set than its home, or went from it: in each set that it had to pass, one more or one less. */
__noinline int count_overflow(const struct connection *connection, int step)
{
	__u64 hash;

	if (!connection)
		return 0;
	hash = hash_client(&connection->client, connection->cport, connection->protocol);
	for (int passed = 0; passed < CANDIDATES - 1; passed++) {
		__u32 set = bucket_of_hash(hash);
		struct bucket_summary *summary = bpf_map_lookup_elem(&due, &set);

		if (passed >= connection->flags / CONN_AWAY)
			break;
		if (summary)
			__sync_fetch_and_add(&summary->overflow, step);
		hash = hash_next(hash, &connection->virtual, connection->vport);
	}
	return 0;
}

static __always_inline int reply_forget(struct connection *connection);

/* Takes an entry out of the table and out of the counts. A template that still controls connections stays for
 * another minute, as in IPVS. Returns whether the entry is free now. */
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
			connection->expires = now + 60 * second;
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
	if (connection->flags >= CONN_AWAY)
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

/* The destination of this connection, if it is what sent this packet; else 0. */
static __always_inline struct destination *server_of(const struct connection *connection, const struct flow *flow)
{
	struct destination *destination;

	if (connection->client.low != flow->daddr.low || connection->cport != flow->dport ||
	    connection->rport != flow->sport || connection->client.high != flow->daddr.high ||
	    connection->protocol != flow->protocol || connection->method != METHOD_NAT ||
	    connection->flags & CONN_TEMPLATE)
		return 0;
	destination = destination_get(connection->destination);
	return destination && addr_equal(&destination->address, &flow->saddr) ? destination : 0;
}

struct found {
	struct connection *connection;
	struct destination *server; /* of a reply */
};

/* The number + 1 of the connection of this tag in the set, or 0. */
static __always_inline __u32 find_in_bucket(struct flow *flow, int reply, __u32 bucket_number, __u32 tag,
					    struct found *found)
{
	struct connection_bucket *set = connection_bucket_get(bucket_number);

	if (!set)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *connection = &set->way[way];

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

static __always_inline int has_overflow(__u32 set)
{
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &set);

	return summary && summary->overflow;
}

/* The same in the table_buckets after the home: rarely gone, so a function of its own. */
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

/* The number + 1 of the connection whose client (or, `reply`, whose NAT server) sent this packet; 0: none. */
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

/* The same for the ways that are less often gone, once for all of them. */
__noinline __u32 connection_lookup(struct flow *flow, int reply)
{
	struct found found = {};

	if (!flow)
		return 0;
	return reply ? connection_find(flow, 1, &found) : connection_find(flow, 0, &found);
}

/* Whether the table may give this entry to another flow: half-open, and either chosen by the consistent hash (so that
 * the flow keeps its destination) or older than any handshake takes. NAT needs its entry to translate replies:
 * there every entry that is not established may go. */
static __always_inline int may_evict(const struct connection *connection, __u32 now, __u32 second)
{
	if (connection->flags & CONN_TEMPLATE)
		return 0;
	if (connection->protocol == PROTO_TCP && connection->state == TCP_SYN_RECV)
		return connection->flags & CONN_HASHED || tick_before(connection->expires, now + 57 * second);
	return 0;
}

/* A free entry of the set, claimed (its tag says busy); the number + 1, or 0. Takes expired ones, and half-open ones if it
 * may evict. */
__noinline __u32 connection_claim(__u32 bucket_number, __u32 tag, __u32 now, int evict)
{
	struct connection_bucket *set = connection_bucket_get(bucket_number);
	__u32 victim = WAYS;

	if (!set)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *connection = &set->way[way];

		if (connection->tag == TAG_FREE) {
			if (__sync_val_compare_and_swap(&connection->tag, TAG_FREE, TAG_BUSY) == TAG_FREE)
				return bucket_number * WAYS + way + 1;
			continue;
		}
		if (connection_expired(connection, now) ? !(connection->flags & CONN_TEMPLATE && connection->control)
							: evict && may_evict(connection, now, settings.second))
			victim = way;
	}
	if (victim < WAYS) {
		struct connection *connection = &set->way[bounded(victim, WAYS - 1)];

		if (connection_end(connection, now, settings.second) &&
		    __sync_val_compare_and_swap(&connection->tag, TAG_FREE, TAG_BUSY) == TAG_FREE)
			return bucket_number * WAYS + victim + 1;
	}
	return 0;
}

static __always_inline void connection_publish(struct connection *connection, __u32 number, __u32 tag)
{
	__sync_lock_test_and_set(&connection->tag, tag);
	due_by(number / WAYS, connection->expires);
}

/* Established: its template has proved itself. */
static __always_inline void template_assure(const struct connection *connection)
{
	struct connection *template;

	if (!connection->control)
		return;
	template = connection_get(connection->control - 1);
	if (template)
		template->state = TEMPLATE_ASSURED;
}

/* Moves between the counts of active and inactive connections. */
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
		return tcp_transition(connection->state, flow->event, direction, settings.secure_tcp == 3);
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
		return direction == FROM_SERVER; /* it answers */
	return protocol == PROTO_TCP ? state == TCP_ESTABLISHED : state == SCTP_ESTABLISHED;
}

/* One packet of the connection: state, counts, timer. */
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

/* The same, at once for the packet that is almost every packet: an ACK in an established connection, or a datagram. */
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
