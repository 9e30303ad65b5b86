/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* NAT and FULLNAT: addresses and ports are rewritten, and the checksums updated.
 *
 * NAT rewrites the destination of a request and the source of its reply. FULLNAT also rewrites the source of a request
 * to an address and port of the director, so that replies come back whatever the real server's routes, and the
 * destination of its reply. A checksum is updated by what changed (RFC 1624). At TC the kernel may have a sum of its
 * own, or owe one (kernel.h). */
#ifndef PYLVS_FORWARDERS_NAT_H
#define PYLVS_FORWARDERS_NAT_H

#include "../forward.h"

enum end { END_SOURCE, END_DESTINATION };

/* A change of address and port at one end of a packet. */
struct translation {
	enum end end;
	__be16 old_port;
	__be16 new_port;
	struct addr old;
	struct addr new;
};

enum ttl_change { TTL_KEEP, TTL_DECREMENT };

/* Rewrites an address of the IP header at `l3`, and decrements the TTL if the packet is forwarded. */
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

	sctp = packet_at(packet, flow->l4, SCTP_COMMON_HEADER);
	if (!sctp)
		return -1;
	sctp->checksum ^= crc;
	return set_port(packet, flow->l4, change);
}

/* Lets the kernel update the checksum, and its own sum with it (CHECKSUM_COMPLETE). Each of its two calls takes 28 ns;
 * a port that stays needs none. */
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

/* Updates the checksum in the frame; `partial`: there is only the sum of the pseudo header (CHECKSUM_PARTIAL). */
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

/* The destination of this packet becomes the real server. */
static __always_inline void translate_to(struct translation *change, const struct flow *flow,
					 const struct destination *destination, __be16 rport)
{
	change->end = END_DESTINATION;
	change->old = flow->daddr;
	change->new = destination->address;
	change->old_port = flow->dport;
	change->new_port = rport;
}

/* The source of this packet becomes this one. */
static __always_inline void translate_from(struct translation *change, const struct flow *flow,
					   const struct addr *saddr, __be16 sport)
{
	change->end = END_SOURCE;
	change->old = flow->saddr;
	change->new = *saddr;
	change->old_port = flow->sport;
	change->new_port = sport;
}

/* FULLNAT: the destination of this reply becomes the client. */
static __always_inline void translate_back(struct translation *change, const struct flow *flow,
					   const struct connection *connection)
{
	change->end = END_DESTINATION;
	change->old = flow->daddr;
	change->new = connection->client;
	change->old_port = flow->dport;
	change->new_port = connection->cport;
}

/* SCTP's checksum is over the whole packet, so what another port does to it depends on more than the first fragment. */
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

static __always_inline enum outcome fullnat_forward(struct packet *packet, struct destination *destination,
						    struct connection *connection, enum hop hop)
{
	struct flow *flow = packet->flow;
	__u32 index = connection->local;
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

#endif
