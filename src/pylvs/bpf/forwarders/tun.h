/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Tunnelling: the packet whole, inside another one to the real server (IPIP, RFC 2003; GUE; GRE, RFC 2784). The outer
 * header takes TTL, TOS and DF from the inner one. */
#ifndef PYLVS_FORWARDERS_TUN_H
#define PYLVS_FORWARDERS_TUN_H

#include "../fragment.h"
#include "mss.h"

struct gue_header {
	__u8 version_and_length;
	__u8 protocol;
	__be16 flags;
};

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

struct gre_checksum {
	__u16 check;
	__be16 reserved;
};

/* Of a packet whose checksum is complete IPVS makes no remote one, but an ordinary one instead (ip_vs_tunnel_xmit()). */
static __always_inline int wants_checksum(const struct destination *destination)
{
	if (destination->tunnel == TUNNEL_GUE)
		return destination->tunnel_flags & (TUNNEL_CSUM | TUNNEL_REMCSUM);
	return destination->tunnel == TUNNEL_GRE && destination->tunnel_flags & TUNNEL_CSUM;
}

static __always_inline __u32 tunnel_header(const struct destination *destination, int summed)
{
	if (destination->tunnel == TUNNEL_GUE)
		return sizeof(struct udphdr) + sizeof(struct gue_header);
	if (destination->tunnel == TUNNEL_GRE)
		return sizeof(struct gre_header) + (summed ? sizeof(struct gre_checksum) : 0);
	return 0;
}

static __always_inline __u32 tunnel_overhead(const struct destination *destination, int summed)
{
	return (destination->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
	       tunnel_header(destination, summed);
}

/* The largest IP packet that fits into the tunnel, the way's MTU being known. */
static __always_inline __u32 tunnel_mtu(const struct destination *destination)
{
	return destination->mtu - tunnel_overhead(destination, wants_checksum(destination));
}

static __always_inline int wants_clamp(const struct flow *flow, const struct destination *destination)
{
	return flow->protocol == PROTO_TCP && flow->flags & FLOW_SYN && flow->fragment == FRAGMENT_NONE &&
	       destination->mtu;
}

/* Segments of this size, with the headers that every packet of the connection has, fit into the tunnel. */
static __always_inline __u32 tunnel_mss(const struct flow *flow, const struct destination *destination)
{
	return tunnel_mtu(destination) - (flow->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) -
	       sizeof(struct tcphdr);
}

/* Room in front of the packet; at XDP there is no Ethernet header in it yet, all of which is written later. Segments and
 * datagrams that the kernel carries as one keep their size, by which they fit. The kernel cuts nothing that it knows to be
 * tunnelled, so what is to be cut is not. */
static __always_inline long make_room(struct packet *packet, struct destination *destination, __u32 room, int cut)
{
	__u64 flags = destination->family == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;

	if (destination->tunnel == TUNNEL_GUE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	if (destination->tunnel == TUNNEL_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	flags = BPF_F_ADJ_ROOM_FIXED_GSO | (cut ? 0 : flags);
	if (packet->hook == HOOK_TC)
		return bpf_skb_adjust_room(packet->ctx, room, BPF_ADJ_ROOM_MAC, flags);
	return bpf_xdp_adjust_head(packet->ctx, -(int)room);
}

/* The sum over the inner packet, without reading it: a segment whose own checksum is right sums up, with its pseudo
 * header, to nothing; so does an IPv4 header. (The kernel calls this local checksum offload.) */
static __always_inline int local_checksum_offload(struct packet *packet, __u64 *sum)
{
	struct flow *flow = packet->flow;
	__u32 length = flow->length - (flow->l4 - L3);

	if (!has_checksum(flow))
		return -1;
	if (flow->protocol == PROTO_UDP) {
		struct udphdr *udp = packet_at(packet, flow->l4, sizeof(*udp));

		if (!udp || !udp->check)
			return -1; /* it has none */
	}
	*sum = (__u16)~checksum_fold(sum_of_pseudo_header(&flow->saddr, &flow->daddr, flow->protocol, length));
	if (flow->family == 6) { /* its header has no checksum of its own */
		struct ipv6hdr *ip = packet_at(packet, L3, sizeof(*ip));

		if (!ip || flow->l4 - L3 != sizeof(*ip))
			return -1;
		*sum += *(__u32 *)ip + (__u64)ip->payload_len + (__u16) * (__u16 *)&ip->nexthdr;
		*sum += sum_of_pseudo_header(&flow->saddr, &flow->daddr, 0, 0);
	}
	return 0;
}

static __always_inline int write_gue(struct packet *packet, struct destination *destination, __u32 offset, __u32 length,
				     __u8 inner, const __u64 *sum)
{
	struct udphdr *udp = packet_at(packet, offset, sizeof(*udp) + sizeof(struct gue_header));
	struct gue_header *gue = (void *)(udp + 1);
	__u32 hash = hash_client(&packet->flow->saddr, packet->flow->sport, packet->flow->protocol) >> 32;
	__u64 total;

	if (!udp)
		return -1;
	/* A source port of the flow's own, from the range that Linux has for such, so that the network spreads flows. */
	udp->source = bpf_htons(32768 + ((__u64)hash * (60999 - 32768) >> 32));
	udp->dest = destination->tunnel_port;
	udp->len = bpf_htons(length);
	udp->check = 0;
	gue->version_and_length = 0;
	gue->protocol = inner;
	gue->flags = 0;
	if (sum) {
		total = *sum + sum_of_pseudo_header(&destination->source, &destination->address, PROTO_UDP, length) +
			udp->source + (__u64)udp->dest + udp->len + bpf_htons(inner);
		udp->check = (__u16)~checksum_fold(total) ?: 0xffff;
	}
	return 0;
}

static __always_inline int write_gre(struct packet *packet, struct destination *destination, __u32 offset, __u8 inner,
				     const __u64 *sum)
{
	struct gre_header *gre = packet_at(packet, offset, sizeof(*gre));
	__be16 protocol = inner == PROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	struct gre_checksum *check;

	if (!gre)
		return -1;
	gre->flags = sum ? bpf_htons(0x8000) : 0;
	gre->protocol = protocol;
	if (!sum)
		return 0;
	check = packet_at(packet, offset + sizeof(*gre), sizeof(*check));
	if (!check)
		return -1;
	check->reserved = 0;
	check->check = ~checksum_fold(*sum + bpf_htons(0x8000) + (__u64)protocol);
	return 0;
}

/* The outer type of service is the inner one; but congestion that the inner packet met is not said again (RFC 3168, 9.1.1). */
static __always_inline __u32 outer_tos(const struct flow *flow)
{
	return (flow->tos & 3) == 3 ? flow->tos ^ 1 : flow->tos;
}

/* In words, whose sum needs not wait for what was stored in bytes. */
static __always_inline int write_outer_v4(struct packet *packet, struct destination *destination, __u32 length,
					  __u8 protocol)
{
	struct flow *flow = packet->flow;
	__be32 *ip = packet_at(packet, L3, sizeof(struct iphdr));
	__be32 from = addr_v4(&destination->source), to = addr_v4(&destination->address);
	__be32 version_tos_length = bpf_htonl(0x45000000U | outer_tos(flow) << 16 | (length & 0xffff));
	__be32 id_fragment = bpf_htonl(flow->flags & FLOW_DF ? IP_DF : bpf_get_prandom_u32() << 16 | 0x10000);
	__be32 ttl_protocol = bpf_htonl((__u32)(flow->ttl - 1) << 24 | (__u32)protocol << 16);
	__u16 check = ~checksum_fold((__u64)version_tos_length + id_fragment + ttl_protocol + from + to);

	if (!ip)
		return -1;
	ip[0] = version_tos_length;
	ip[1] = id_fragment;
	ip[2] = ttl_protocol | (__u32)check << 16;
	ip[3] = from;
	ip[4] = to;
	return 0;
}

static __always_inline int write_outer_v6(struct packet *packet, struct destination *destination, __u32 length,
					  __u8 protocol)
{
	struct flow *flow = packet->flow;
	struct ipv6hdr *ip = packet_at(packet, L3, sizeof(*ip));

	if (!ip)
		return -1;
	*(__be32 *)ip = bpf_htonl(6U << 28 | outer_tos(flow) << 20);
	ip->payload_len = bpf_htons(length - sizeof(*ip));
	ip->nexthdr = protocol;
	ip->hop_limit = flow->ttl - 1;
	__builtin_memcpy(&ip->saddr, &destination->source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &destination->address, sizeof(ip->daddr));
	return 0;
}

static __always_inline int write_outer(struct packet *packet, struct destination *destination, const __u64 *sum)
{
	struct flow *flow = packet->flow;
	__u8 inner = flow->family == 4 ? PROTO_IPIP : PROTO_IPV6;
	__u32 length = flow->length + tunnel_overhead(destination, sum != 0);
	__u32 ip_size = destination->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct ethhdr *eth = packet_at(packet, 0, sizeof(*eth));
	__u8 protocol = inner;

	if (!eth)
		return -1;
	eth->h_proto = destination->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (destination->tunnel == TUNNEL_GUE) {
		protocol = PROTO_UDP;
		if (write_gue(packet, destination, L3 + ip_size, length - ip_size, inner, sum))
			return -1;
	} else if (destination->tunnel == TUNNEL_GRE) {
		protocol = PROTO_GRE;
		if (write_gre(packet, destination, L3 + ip_size, inner, sum))
			return -1;
	}
	return destination->family == 4 ? write_outer_v4(packet, destination, length, protocol)
					: write_outer_v6(packet, destination, length, protocol);
}

/* The tunnel's packet is too big for the way: its pieces come in, and are known by what is left for them here. */
static __always_inline enum outcome fragment_outer(struct packet *packet, struct destination *destination,
						   struct choice *choice, int summed)
{
	__u32 length = packet->flow->length + tunnel_overhead(destination, summed) - sizeof(struct iphdr);
	struct iphdr *ip = packet_at(packet, L3, sizeof(*ip));
	struct scratch *scratch = scratch_get();
	struct flow *outer;

	if (!ip || !scratch)
		return DROP_ERROR;
	outer = &scratch->quoted;
	outer->saddr = destination->source;
	outer->daddr = destination->address;
	outer->protocol = ip->protocol;
	return fragment_send(outer, ip->id, choice) ? DROP_ERROR
						    : fragment_packet(packet, length, destination->mtu, FRAG_OUTER);
}

/* Such a piece goes on as it is. */
static __always_inline enum outcome tun_forward_fragment(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct destination *destination;
	struct choice choice = {};
	enum hop hop;

	if (fragment_ports(flow) || !fragment_follow(flow, &choice))
		return DROP_FRAGMENT;
	destination = destination_get(choice.destination);
	if (!destination || !(destination->flags & DEST_AVAILABLE))
		return DROP_DESTINATION_GONE;
	hop = destination_hop(packet, destination);
	return hop == HOP_READY || hop == HOP_RESOLVE ? send_to_destination(packet, destination, hop, FORWARD_TUN)
						      : DROP_NO_ROUTE;
}

/* The sum over the inner packet, which has one hop less to live by now; of fragments, SCTP, and UDP that has no checksum by
 * reading it. */
static __always_inline int inner_checksum(struct packet *packet, __u64 *sum)
{
	if (local_checksum_offload(packet, sum))
		return sum_all(packet, sum);
	return 0;
}

static __always_inline enum outcome tun_forward(struct packet *packet, struct destination *destination,
						struct choice *choice, enum hop hop)
{
	/* The kernel would give every segment that it cuts off the same checksum: rather none. */
	int many = skb_is_gso(packet), summed = wants_checksum(destination) && !many;
	int cut = packet->hook == HOOK_TC && packet->flow->length > packet->flow->mtu && !many;
	__u64 sum = 0;

	if (unlikely(settings.clamp_mss) && wants_clamp(packet->flow, destination) &&
	    clamp_mss(packet, tunnel_mss(packet->flow, destination)))
		return DROP_ERROR;
	if (decrement_ttl(packet) || (cut && checksum_help(packet)))
		return DROP_ERROR;
	if (summed && inner_checksum(packet, &sum))
		return DROP_ERROR;
	if (make_room(packet, destination, tunnel_overhead(destination, summed), cut) ||
	    write_outer(packet, destination, summed ? &sum : 0))
		return DROP_ERROR;
	if (cut)
		return fragment_outer(packet, destination, choice, summed);
	return send_to_destination(packet, destination, hop, FORWARD_TUN);
}

#endif
