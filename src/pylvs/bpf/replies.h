/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Replies that the hash of the connection table does not lead to their connection: those to one of FULLNAT's own
 * addresses and ports, and those of a NAT connection that is not in its primary bucket. A map of their own has them,
 * by the tuple of the reply. An entry is added when its connection is entered, and goes when the connection ends. */
#ifndef PYLVS_REPLIES_H
#define PYLVS_REPLIES_H

#include "packet.h"
#include "table.h"

struct reply_key {
	__u64 hash; /* of what follows */
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct reply_key);
	__type(value, __u32); /* number of the connection */
} replies SEC(".maps");

struct reply_scratch {
	struct reply_key key;
};
PER_CPU_SCRATCH(reply_scratch)

/* A connection that was found. */
struct found {
	struct connection *connection;
	struct destination *server; /* with a reply: who sent it */
};

static __always_inline void reply_key_hash(struct reply_key *key)
{
	__u32 ports = (__u32)key->sport << 16 | key->dport;

	key->hash = hash_tuple(&key->saddr, &key->daddr, (__u64)key->protocol << 32 | ports);
}

/* The tuple of replies of a connection; with FULLNAT they come to `local`. */
static __always_inline struct reply_key *reply_key_of(const struct connection *connection,
						      const struct destination *destination, const struct addr *local)
{
	struct reply_scratch *scratch = reply_scratch_get();
	struct reply_key *key;

	if (!scratch)
		return 0;
	key = &scratch->key;
	key->saddr = destination->address;
	key->sport = connection->rport;
	key->protocol = connection->protocol;
	key->daddr = local ? *local : connection->client;
	key->dport = local ? connection->lport : connection->cport;
	reply_key_hash(key);
	return key;
}

static __always_inline int reply_remember(struct connection *connection, struct destination *destination, __u32 number)
{
	struct reply_key *key = reply_key_of(connection, destination, 0);

	return key ? bpf_map_update_elem(&replies, key, &number, BPF_ANY) : -1;
}

/* The connection ends. */
static __always_inline int reply_forget(struct connection *connection)
{
	struct destination *destination = destination_get(connection->destination);
	__u32 index = connection->local;
	struct addr *local = 0;
	struct reply_key *key;

	if (connection->method == METHOD_FULLNAT) {
		local = bpf_map_lookup_elem(&local_addresses, &index);
		if (!local)
			return -1;
	} else if (connection->method != METHOD_NAT || !overflow_of(connection->flags)) {
		return 0;
	}
	key = destination ? reply_key_of(connection, destination, local) : 0;
	return key ? bpf_map_delete_elem(&replies, key) : -1;
}

/* The connection of this reply: number + 1, or 0. */
static __always_inline __u32 reply_find(struct flow *flow, struct found *found)
{
	struct reply_scratch *scratch = reply_scratch_get();
	struct connection *connection;
	struct reply_key *key;
	__u32 *number;

	if (!scratch)
		return 0;
	key = &scratch->key;
	key->saddr = flow->saddr;
	key->daddr = flow->daddr;
	key->sport = flow->sport;
	key->dport = flow->dport;
	key->protocol = flow->protocol;
	reply_key_hash(key);
	number = bpf_map_lookup_elem(&replies, key);
	connection = number ? connection_get(*number - 1) : 0;
	if (!connection || connection->tag < TAG_FIRST || connection->rport != flow->sport ||
	    connection_expired(connection, flow->now))
		return 0;
	found->connection = connection;
	found->server = destination_get(connection->destination);
	return *number;
}

/* FULLNAT's search for a port that no other connection to this real server has. Where 19 of 20 ports are taken, so many
 * tries fail for one in 500,000 connections. The stride is a prime, so that tries spread over addresses and ports. */
enum { PORT_FIRST = 1024, PORTS = 65536 - PORT_FIRST, PORT_TRIES = 256, PORT_STRIDE = 2039 };

struct port_search {
	struct connection *connection;
	struct destination *destination;
	__u32 start;
	__u32 number;
	__u32 found;
	__u32 pad;
};

static long port_try(__u32 turn, void *context)
{
	struct port_search *search = context;
	struct connection *connection = search->connection;
	struct destination *destination = search->destination;
	__u32 pick = search->start + turn * PORT_STRIDE, locals = destination->locals;
	__u32 index = destination->local_first + pick % locals;
	struct addr *local = bpf_map_lookup_elem(&local_addresses, &index);
	struct reply_key *key;

	if (!local)
		return 1;
	connection->lport = bpf_htons(PORT_FIRST + (pick / locals) % PORTS);
	connection->local = index;
	key = reply_key_of(connection, destination, local);
	search->found = key && !bpf_map_update_elem(&replies, key, &search->number, BPF_NOEXIST);
	return search->found;
}

/* Gives a FULLNAT connection one of the destination's local addresses, and a port of it. */
static __always_inline int reply_claim_port(struct connection *connection, struct destination *destination,
					    __u32 number)
{
	struct port_search search = {.connection = connection, .destination = destination, .number = number};

	if (!destination->locals)
		return -1;
	search.start = __sync_fetch_and_add(&destination->next_port, 1);
	bpf_loop(PORT_TRIES, port_try, &search, 0);
	return search.found ? 0 : -1;
}

#endif
