/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* NAT: the destination rewritten on the way in, the source on the way back; FULLNAT rewrites both both ways. */
#ifndef PYLVS_FORWARDERS_NAT_H
#define PYLVS_FORWARDERS_NAT_H

#include "../forward.h"

enum ttl_change { TTL_KEEP, TTL_DECREMENT };

/* The IP header: another address at one end, and one hop less to live if it goes on. */
static __always_inline int translate_address(struct packet *packet, __u32 l3, const struct translation *change,
					     enum ttl_change ttl)
{
	int source = change->end == END_SOURCE;

	if (packet->flow->family == 4) {
		struct iphdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip)
			return -1;
		ip->check = checksum_update(ip->check, checksum_delta_addr(&change->old, &change->new));
		*(source ? &ip->saddr : &ip->daddr) = addr_v4(&change->new);
		if (ttl == TTL_DECREMENT)
			ip_decrease_ttl(ip);
	} else {
		struct ipv6hdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip)
			return -1;
		__builtin_memcpy(source ? &ip->saddr : &ip->daddr, &change->new, sizeof(change->new));
		if (ttl == TTL_DECREMENT)
			ip->hop_limit--;
	}
	return 0;
}

static __always_inline int set_port(struct packet *packet, __u32 l4, const struct translation *change)
{
	struct ports *ports = packet_at(packet, l4, sizeof(*ports));

	if (!ports)
		return -1;
	*(change->end == END_SOURCE ? &ports->source : &ports->dest) = change->new_port;
	return 0;
}

static __always_inline int translate_sctp(struct packet *packet, const struct translation *change)
{
	struct flow *flow = packet->flow;
	__u32 delta = (__u32)(change->old_port ^ change->new_port) << (change->end == END_SOURCE ? 0 : 16);
	struct sctp_header *sctp;
	__u32 crc = crc32c_delta(delta, flow->length - (flow->l4 - L3));

	sctp = packet_at(packet, flow->l4, 12);
	if (!sctp)
		return -1;
	sctp->checksum ^= crc;
	return set_port(packet, flow->l4, change);
}

/* The kernel changes the checksum, and its own sum with it. Each of its two calls takes 28 ns: none for a port that stays. */
static __always_inline int checksum_in_skb(struct packet *packet, __u32 offset, const struct translation *change,
					   int udp)
{
	__u64 sum = checksum_delta_addr(&change->old, &change->new);
	__u64 zero_is_none = udp ? BPF_F_MARK_MANGLED_0 : 0;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	if (bpf_l4_csum_replace(packet->ctx, offset, 0, sum, BPF_F_PSEUDO_HDR | zero_is_none))
		return -1;
	if (change->old_port == change->new_port)
		return 0;
	return bpf_l4_csum_replace(packet->ctx, offset, change->old_port, change->new_port, 2 | zero_is_none);
}

/* The checksum is in the frame as it is on the wire; or, PARTIAL, the pseudo header's sum is. */
static __always_inline int checksum_in_frame(struct packet *packet, __u32 offset, const struct translation *change,
					     int udp, int partial)
{
	__u64 delta = checksum_delta_addr(&change->old, &change->new);
	__u16 *check = packet_at(packet, offset, sizeof(*check));

	if (!check)
		return -1;
	if (partial) {
		*check = checksum_fold(*check + delta);
		return 0;
	}
	if (udp && !*check)
		return 0;
	*check = checksum_update(*check, delta + checksum_delta(change->old_port, change->new_port));
	if (udp && !*check)
		*check = 0xffff;
	return 0;
}

static __always_inline int translate_transport(struct packet *packet, const struct translation *change)
{
	struct flow *flow = packet->flow;
	int udp = flow->protocol == PROTO_UDP;
	__u32 offset = checksum_at(flow);
	enum ip_summed summed;

	if (flow->fragment == FRAGMENT_LATER)
		return 0;
	if (flow->protocol == PROTO_SCTP)
		return translate_sctp(packet, change);
	summed = packet->hook == HOOK_TC ? skb_ip_summed(packet) : CHECKSUM_NONE;
	return (summed == CHECKSUM_COMPLETE
			? checksum_in_skb(packet, offset, change, udp)
			: checksum_in_frame(packet, offset, change, udp, summed == CHECKSUM_PARTIAL)) ||
	       set_port(packet, flow->l4, change);
}

static __always_inline int translate(struct packet *packet, const struct translation *change, enum ttl_change ttl)
{
	return translate_transport(packet, change) || translate_address(packet, L3, change, ttl);
}

/* What the destination of this packet becomes. */
static __always_inline void translate_to(struct translation *change, const struct flow *flow,
					 const struct destination *destination, __be16 rport)
{
	change->end = END_DESTINATION;
	change->old = flow->daddr;
	change->new = destination->address;
	change->old_port = flow->dport;
	change->new_port = rport;
}

/* What the source of this packet becomes. */
static __always_inline void translate_from(struct translation *change, const struct flow *flow,
					   const struct addr *saddr, __be16 sport)
{
	change->end = END_SOURCE;
	change->old = flow->saddr;
	change->new = *saddr;
	change->old_port = flow->sport;
	change->new_port = sport;
}

/* FULLNAT: the reply's destination becomes the client again. */
static __always_inline void translate_back(struct translation *change, const struct flow *flow,
					   const struct connection *connection)
{
	change->end = END_DESTINATION;
	change->old = flow->daddr;
	change->new = connection->client;
	change->old_port = flow->dport;
	change->new_port = connection->cport;
}

/* SCTP's checksum is over the whole packet: what another port does to it cannot be told from the first fragment. */
static __always_inline int is_untranslatable(const struct flow *flow, const struct translation *change)
{
	return unlikely(flow->fragment == FRAGMENT_FIRST) && flow->protocol == PROTO_SCTP &&
	       change->old_port != change->new_port;
}

static __always_inline enum outcome nat_forward(struct packet *packet, struct destination *destination, __be16 rport,
						enum hop hop)
{
	struct translation change;

	translate_to(&change, packet->flow, destination, rport);
	if (is_untranslatable(packet->flow, &change))
		return DROP_FRAGMENT;
	if (hop == HOP_LOCAL)
		return translate(packet, &change, TTL_KEEP) ? DROP_ERROR : PASS_LOCAL;
	if (translate(packet, &change, TTL_DECREMENT))
		return DROP_ERROR;
	return send_to_destination(packet, destination, hop, FORWARD_NAT);
}

/* Fills in the scratch's key for replies of a connection; with FULLNAT they come to `local`. */
static __always_inline struct reply_key *reply_key_of(const struct connection *connection,
						      const struct destination *destination, const struct addr *local)
{
	struct scratch *scratch = scratch_get();
	struct reply_key *key;

	if (!scratch)
		return 0;
	key = &scratch->reply_key;
	key->saddr = destination->address;
	key->sport = connection->rport;
	key->protocol = connection->protocol;
	key->daddr = local ? *local : connection->client;
	key->dport = local ? connection->lport : connection->cport;
	return key;
}

static __always_inline int reply_remember(struct connection *connection, struct destination *destination, __u32 number)
{
	struct reply_key *key = reply_key_of(connection, destination, 0);

	return key ? bpf_map_update_elem(&replies, key, &number, BPF_ANY) : -1;
}

/* FULLNAT: a port of one of the destination's local addresses that no other connection to this real server has. So many
 * tries find one for all but one in 500,000 connections where 19 of 20 ports are taken. */
enum { PORT_FIRST = 1024, PORT_TRIES = 256 };

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
	__u32 pick = search->start + turn * 2039, locals = destination->locals;
	__u32 index = destination->local_first + pick % locals;
	struct addr *local = bpf_map_lookup_elem(&local_addresses, &index);
	struct reply_key *key;

	if (!local)
		return 1;
	connection->lport = bpf_htons(PORT_FIRST + (pick / locals) % (65536 - PORT_FIRST));
	connection->timeout = index;
	key = reply_key_of(connection, destination, local);
	search->found = key && !bpf_map_update_elem(&replies, key, &search->number, BPF_NOEXIST);
	return search->found;
}

static __always_inline int fullnat_bind(struct connection *connection, struct destination *destination,
					struct flow *flow, __u32 number)
{
	struct port_search search = {.connection = connection, .destination = destination, .number = number};

	if (!destination->locals)
		return -1;
	search.start = __sync_fetch_and_add(&destination->next_port, 1);
	bpf_loop(PORT_TRIES, port_try, &search, 0);
	return search.found ? 0 : -1;
}

/* The entry goes: its replies are not its own any more. */
static __always_inline int reply_forget(struct connection *connection)
{
	struct destination *destination = destination_get(connection->destination);
	__u32 index = connection->timeout;
	struct addr *local = 0;
	struct reply_key *key;

	if (connection->method == METHOD_FULLNAT) {
		local = bpf_map_lookup_elem(&local_addresses, &index);
		if (!local)
			return -1;
	} else if (connection->method != METHOD_NAT || connection->flags < CONN_AWAY) {
		return 0;
	}
	key = destination ? reply_key_of(connection, destination, local) : 0;
	return key ? bpf_map_delete_elem(&replies, key) : -1;
}

static __always_inline enum outcome fullnat_forward(struct packet *packet, struct destination *destination,
						    struct connection *connection, enum hop hop)
{
	struct flow *flow = packet->flow;
	__u32 index = connection->timeout;
	struct addr *local = bpf_map_lookup_elem(&local_addresses, &index);
	struct translation source, target;

	if (!local)
		return DROP_ERROR;
	translate_from(&source, flow, local, connection->lport);
	translate_to(&target, flow, destination, connection->rport);
	if (is_untranslatable(flow, &source) || is_untranslatable(flow, &target))
		return DROP_FRAGMENT;
	if (translate(packet, &source, TTL_KEEP) || translate(packet, &target, TTL_DECREMENT))
		return DROP_ERROR;
	return send_to_destination(packet, destination, hop, FORWARD_FULLNAT);
}

/* The connection of a reply that the table's own hash does not lead to: number + 1, or 0. */
static __always_inline __u32 reply_find(struct flow *flow, struct found *found)
{
	struct scratch *scratch = scratch_get();
	struct connection *connection;
	struct reply_key *key;
	__u32 *number;

	if (!scratch)
		return 0;
	key = &scratch->reply_key;
	key->saddr = flow->saddr;
	key->daddr = flow->daddr;
	key->sport = flow->sport;
	key->dport = flow->dport;
	key->protocol = flow->protocol;
	number = bpf_map_lookup_elem(&replies, key);
	connection = number ? connection_get(*number - 1) : 0;
	if (!connection || connection->tag < TAG_FIRST || connection->rport != flow->sport ||
	    connection_expired(connection, flow->now))
		return 0;
	found->connection = connection;
	found->server = destination_get(connection->destination);
	return *number;
}

#endif
