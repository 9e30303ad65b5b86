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
 * 4. connection_end() takes an entry out of the table, and out of the counts of its destination and its template.
 * However many CPUs do so at once, each change of an entry is decided by one compare-and-swap, and counted by who
 * made it (table.h). */
#ifndef PYLVS_CONNECTION_H
#define PYLVS_CONNECTION_H

#include "count.h"
#include "lock.h"
#include "replies.h"
#include "states.h"

/* Whether the destination is no longer overloaded, as ip_vs_unbind_dest() has it. */
static __always_inline int is_relieved(const struct destination *destination, __u32 total)
{
	if (destination->lower)
		return total < destination->lower;
	return !destination->upper || total * 4 < destination->upper * 3;
}

enum { SETTLE_TRIES = 8 };

/* Sets or clears DEST_OVERLOAD by the thresholds. Other CPUs bind and unbind meanwhile, so after each change it looks
 * again. */
static __always_inline void overload_settle(struct destination *destination)
{
	for (int i = 0; i < SETTLE_TRIES; i++) {
		__u32 flags = *(volatile __u32 *)&destination->flags & DEST_OVERLOAD;
		__u32 active = *(volatile __s32 *)&destination->active;
		__u32 total = active + *(volatile __s32 *)&destination->inactive;

		if (!flags && destination->upper && total >= destination->upper)
			__sync_fetch_and_or(&destination->flags, DEST_OVERLOAD);
		else if (flags && is_relieved(destination, total))
			__sync_fetch_and_and(&destination->flags, ~DEST_OVERLOAD);
		else
			return;
	}
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
	if (destination->upper)
		overload_settle(destination);
}

static __always_inline void unbind_connection(struct destination *destination, __u8 flags)
{
	count_bound(destination, flags, -1);
	if (destination->flags & DEST_OVERLOAD)
		overload_settle(destination);
}

/* A connection of this template (number + 1, 0: none) is over. */
static __always_inline void template_release(__u32 template)
{
	struct connection *entry = template ? connection_get(template - 1) : 0;

	if (entry)
		__sync_fetch_and_add(&entry->control, -1);
}

enum { TEMPLATE_HELD_SECONDS = 60 };

/* Makes a template TAG_BUSY if it is as it was seen and no connection holds it; returns whether. One that still
 * controls connections stays for another minute, as in IPVS. `locked`: see connection_end(). */
static __always_inline int template_take(struct connection *entry, union entry_word seen, union entry_word busy,
					 __u32 now, __u32 locked)
{
	__u64 hash = hash_client(&entry->client, 0, seen.protocol);
	int is_mine = bucket_of_hash(hash) + 1 == locked, taken = 0;
	__u32 *locks = locks_of(hash);

	if (!locks || !(is_mine || lock_try(locks, LOCK_TEMPLATE)))
		return 0;
	if (*(volatile __u32 *)&entry->control)
		entry->expires = now + TEMPLATE_HELD_SECONDS * settings.second;
	else
		taken = entry_swap(entry, seen, busy);
	if (!is_mine)
		lock_release(locks, LOCK_TEMPLATE);
	return taken;
}

/* Takes an entry that is still as the caller saw it (`word`, of entry_word()) out of the table and out of the counts.
 * Returns whether the entry is free now. `locked`: the bucket + 1 whose LOCK_TEMPLATE the caller holds, or 0. */
__noinline int connection_end(struct connection *connection, __u64 word, __u32 now, __u32 locked)
{
	union entry_word seen = {.all = word}, busy = seen;
	struct destination *destination;

	if (!connection || seen.tag < TAG_FIRST)
		return 0;
	busy.tag = TAG_BUSY;
	if (seen.flags & CONN_TEMPLATE) {
		if (!template_take(connection, seen, busy, now, locked))
			return 0;
	} else if (!entry_swap(connection, seen, busy)) {
		return 0;
	}
	destination = destination_get(connection->destination);
	if (destination)
		unbind_connection(destination, seen.flags);
	if (overflow_of(seen.flags))
		count_overflow(connection, -1);
	if (!(seen.flags & CONN_TEMPLATE)) {
		reply_forget(connection);
		template_release(connection->control);
	}
	__sync_lock_test_and_set(&connection->tag, TAG_FREE);
	return 1;
}

enum { END_TRIES = 4 };

/* Ends an entry of this destination, also if packets change it meanwhile. Returns whether it is free now. */
static __always_inline int connection_end_now(struct connection *connection, __u32 destination, __u32 now)
{
	for (int i = 0; i < END_TRIES; i++) {
		union entry_word word = entry_word(connection);

		if (word.tag < TAG_FIRST || connection->destination != destination)
			return 0;
		if (connection_end(connection, word.all, now, 0))
			return 1;
	}
	return 0;
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

/* Claims a free or expired entry of the bucket or, with `evict`, that of a half-open connection: number + 1, or 0.
 * `locked`: see connection_end(). */
__noinline __u32 connection_claim(__u32 bucket_number, __u32 tag, __u32 now, int evict, __u32 locked)
{
	struct connection_bucket *bucket = bucket_get(bucket_number);
	__u32 victim = WAYS;
	__u64 seen = 0;

	if (!bucket)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *connection = &bucket->way[way];
		union entry_word word = entry_word(connection);

		if (word.tag == TAG_BUSY)
			continue;
		if (word.tag == TAG_FREE) {
			if (__sync_val_compare_and_swap(&connection->tag, TAG_FREE, TAG_BUSY) == TAG_FREE)
				return bucket_number * WAYS + way + 1;
			continue;
		}
		if (connection_expired(connection, now) ? !((connection->flags & CONN_TEMPLATE) && connection->control)
							: evict && may_evict(connection, now, settings.second)) {
			victim = way;
			seen = word.all;
		}
	}
	if (victim < WAYS) {
		struct connection *connection = &bucket->way[bounded(victim, WAYS - 1)];

		if (connection_end(connection, seen, now, locked) &&
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

/* Claims an entry in one of the candidate buckets: number + 1, or 0. `locked`: see connection_end(). */
static __always_inline __u32 claim_candidate(struct claim *claim, __u64 hash, const struct addr *virtual, __be16 vport,
					     __u32 now, __u32 locked)
{
	for (__u32 passed = 0; passed < CANDIDATES; passed++) {
		__u32 number = connection_claim(bucket_of_hash(hash), tag_of_hash(hash), now, 0, locked);

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
	number = claim_candidate(claim, hash, &flow->daddr, flow->dport, flow->now, 0);
	if (unlikely(!number)) {
		settings.table_pressed = flow->now ?: 1;
		claim->tag = tag_of_hash(hash);
		claim->flags = CONN_HASHED;
		number = connection_claim(bucket_of_hash(hash), claim->tag, flow->now, 1, 0);
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
	union entry_word seen, new;

	if (!connection->control)
		return;
	template = connection_get(connection->control - 1);
	if (!template)
		return;
	seen = new = entry_word(template);
	new.state = TEMPLATE_ASSURED;
	if ((seen.flags & CONN_TEMPLATE) && seen.tag >= TAG_FIRST && seen.all != new.all)
		entry_swap(template, seen, new); /* should it fail, the connection's next packet does it */
}

/* Counts a connection that became active, or inactive. */
static __always_inline void count_activity(struct destination *destination, int active)
{
	__sync_fetch_and_add(&destination->active, active ? 1 : -1);
	__sync_fetch_and_add(&destination->inactive, active ? -1 : 1);
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

static __always_inline __u8 next_state(__u8 state, const struct flow *flow, enum direction direction)
{
	if (flow->fragment == FRAGMENT_LATER)
		return state;
	if (flow->protocol == PROTO_TCP)
		return tcp_transition(state, flow->event, direction, settings.secure_tcp == DEFENCE_ALWAYS);
	if (flow->protocol == PROTO_SCTP)
		return sctp_transition(state, flow->event, direction);
	return state;
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

enum { ADVANCE_TRIES = 4, CHANGED_MEANWHILE = -1 };

/* Moves the connection to its next state, and between the counts of its destination. Returns the state, or
 * CHANGED_MEANWHILE: another CPU changed the entry first. (The destination is read before the word is exchanged: an entry
 * that ended and was entered anew meanwhile has another word.) */
static __always_inline int connection_step(struct connection *connection, const struct flow *flow,
					   enum direction direction)
{
	union entry_word seen = entry_word(connection), new = seen;
	struct destination *destination = destination_get(connection->destination);

	new.state = next_state(seen.state, flow, direction);
	if (new.state == seen.state || seen.tag < TAG_FIRST)
		return seen.state;
	if (is_active(flow->protocol, new.state))
		new.flags &= ~CONN_INACTIVE;
	else
		new.flags |= CONN_INACTIVE;
	if (!entry_swap(connection, seen, new))
		return CHANGED_MEANWHILE;
	if (destination && new.flags != seen.flags)
		count_activity(destination, !(new.flags &CONN_INACTIVE));
	return new.state;
}

/* What a packet does to its connection: state, counts, timer. */
__noinline int connection_advance(struct flow *flow, __u32 number, int direction)
{
	struct connection *connection = connection_get(number);
	int state = CHANGED_MEANWHILE;

	if (!flow || !connection)
		return 0;
	if (connection->flags & CONN_NO_OUTPUT)
		direction = CLIENT_ONLY;
	for (int i = 0; i < ADVANCE_TRIES && state == CHANGED_MEANWHILE; i++)
		state = connection_step(connection, flow, direction);
	if (state == CHANGED_MEANWHILE)
		return 0;
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
