/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Tunnelling: the whole packet inside another one to the real server: IPIP (RFC 2003), GUE or GRE (RFC 2784). The
 * outer header takes TTL, TOS and DF from the inner one.
 *
 * 1. The checksum of GUE or GRE, if the destination wants one, is made up from the inner packet's own, without
 *    reading it ("local checksum offload" of the kernel's Documentation/networking). Where that is not to be had
 *    the packet is read.
 * 2. bpf_skb_adjust_room() or bpf_xdp_adjust_head() makes room; the outer headers are written; the packet is
 *    transmitted.
 * 3. A tunnel's packet that exceeds the path MTU and may be fragmented is, as IPVS does it: the outer one
 *    (fragment.h). */
#ifndef PYLVS_FORWARDERS_TUN_H
#define PYLVS_FORWARDERS_TUN_H

#include "../fragment.h"
#include "../tunnel.h"
#include "mss.h"

/* Whether the tunnel's header has a checksum. With remcsum too: IPVS uses remote checksum offload only for
 * CHECKSUM_PARTIAL packets, and an ordinary checksum for others (ip_vs_tunnel_xmit()). */
static __always_inline int wants_checksum(const struct destination *destination)
{
	if (destination->tunnel == TUNNEL_GUE)
		return destination->tunnel_flags & (TUNNEL_CSUM | TUNNEL_REMCSUM);
	return destination->tunnel == TUNNEL_GRE && (destination->tunnel_flags & TUNNEL_CSUM);
}

static __always_inline __u32 tunnel_header(const struct destination *destination, int checksummed)
{
	if (destination->tunnel == TUNNEL_GUE)
		return sizeof(struct udphdr) + sizeof(struct gue_header);
	if (destination->tunnel == TUNNEL_GRE)
		return sizeof(struct gre_header) + (checksummed ? sizeof(struct gre_checksum) : 0);
	return 0;
}

static __always_inline __u32 tunnel_overhead(const struct destination *destination, int checksummed)
{
	return (destination->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
	       tunnel_header(destination, checksummed);
}

/* The largest IP packet that fits into the tunnel; the path MTU must be known. */
static __always_inline __u32 tunnel_mtu(const struct destination *destination)
{
	return destination->mtu - tunnel_overhead(destination, wants_checksum(destination));
}

static __always_inline int wants_clamp(const struct flow *flow, const struct destination *destination)
{
	return flow->protocol == PROTO_TCP && (flow->flags & FLOW_SYN) && flow->fragment == FRAGMENT_NONE &&
	       destination->mtu;
}

/* The largest segment that fits into the tunnel, with the headers that every packet of the connection has. */
static __always_inline __u32 tunnel_mss(const struct flow *flow, const struct destination *destination)
{
	return tunnel_mtu(destination) - (flow->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) -
	       sizeof(struct tcphdr);
}

/* Makes room in front of the packet; at XDP for the Ethernet header too, all of which is written later. A GSO packet
 * keeps its segment size, by which segments fit. `fragmented`: the packet will be, which the kernel's helpers refuse
 * for one that they know to be tunnelled; so they are not told. */
static __always_inline long make_room(struct packet *packet, struct destination *destination, __u32 room,
				      int fragmented)
{
	__u64 flags = destination->family == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;

	if (destination->tunnel == TUNNEL_GUE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	if (destination->tunnel == TUNNEL_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	flags = BPF_F_ADJ_ROOM_FIXED_GSO | (fragmented ? 0 : flags);
	if (packet->hook == HOOK_TC)
		return bpf_skb_adjust_room(packet->ctx, room, BPF_ADJ_ROOM_MAC, flags);
	return bpf_xdp_adjust_head(packet->ctx, -(int)room);
}

/* The sum over the inner packet, without reading it: a segment whose checksum is right sums up to zero with its pseudo
 * header, and so does an IPv4 header. */
static __always_inline int local_checksum_offload(struct packet *packet, __u64 *sum)
{
	struct flow *flow = packet->flow;
	__u32 length = flow->length - (flow->l4 - L3);

	if (!has_checksum(flow))
		return -1;
	if (flow->protocol == PROTO_UDP) {
		struct udphdr *udp = packet_at(packet, flow->l4, sizeof(*udp));

		if (!udp || !udp->check)
			return -1; /* it has no checksum */
	}
	*sum = (__u16)~checksum_fold(sum_of_pseudo_header(&flow->saddr, &flow->daddr, flow->protocol, length));
	if (flow->family == 6) { /* whose header has no checksum */
		struct ipv6hdr *ip = packet_at(packet, L3, sizeof(*ip));

		if (!ip || flow->l4 - L3 != sizeof(*ip))
			return -1;
		*sum += *(__u32 *)ip + (__u64)ip->payload_len + (__u16) * (__u16 *)&ip->nexthdr;
		*sum += sum_of_pseudo_header(&flow->saddr, &flow->daddr, 0, 0);
	}
	return 0;
}

enum { PORT_MIN = 32768, PORT_MAX = 60999 }; /* the default of net.ipv4.ip_local_port_range */

static __always_inline int write_gue(struct packet *packet, struct destination *destination, __u32 offset, __u32 length,
				     __u8 inner, const __u64 *sum)
{
	struct udphdr *udp = packet_at(packet, offset, sizeof(*udp) + sizeof(struct gue_header));
	struct gue_header *gue = (void *)(udp + 1);
	__u32 hash = hash_client(&packet->flow->saddr, packet->flow->sport, packet->flow->protocol) >> 32;
	__u64 total;

	if (!udp)
		return -1;
	/* A source port for each flow, by which the network spreads flows over paths (ECMP). */
	udp->source = bpf_htons(PORT_MIN + ((__u64)hash * (PORT_MAX - PORT_MIN) >> 32));
	udp->dest = destination->tunnel_port;
	udp->len = bpf_htons(length);
	udp->check = 0;
	gue->variant_and_length = 0;
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
	gre->flags = sum ? bpf_htons(GRE_CSUM) : 0;
	gre->protocol = protocol;
	if (!sum)
		return 0;
	check = packet_at(packet, offset + sizeof(*gre), sizeof(*check));
	if (!check)
		return -1;
	check->reserved = 0;
	check->check = ~checksum_fold(*sum + bpf_htons(GRE_CSUM) + (__u64)protocol);
	return 0;
}

/* The outer TOS is the inner one, but that congestion experienced becomes ECT(0) (RFC 3168, section 9.1.1). */
static __always_inline __u32 outer_tos(const struct flow *flow)
{
	return (flow->tos & INET_ECN_MASK) == INET_ECN_CE ? flow->tos ^ 1 : flow->tos;
}

/* Written in words: a sum of words need not wait for bytes to be stored. */
static __always_inline int write_outer_v4(struct packet *packet, struct destination *destination, __u32 length,
					  __u8 protocol)
{
	struct flow *flow = packet->flow;
	__be32 *ip = packet_at(packet, L3, sizeof(struct iphdr));
	__be32 from = addr_v4(&destination->source), to = addr_v4(&destination->address);
	__be32 version_tos_length = bpf_htonl((__u32)IPV4_NO_OPTIONS << 24 | outer_tos(flow) << 16 | (length & 0xffff));
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

/* The tunnel's packet exceeds the path MTU: it is fragmented, and its fragments find the choice that is left for them
 * here. */
static __always_inline enum outcome fragment_outer(struct packet *packet, struct destination *destination,
						   struct choice *choice, int checksummed)
{
	__u32 length = packet->flow->length + tunnel_overhead(destination, checksummed) - sizeof(struct iphdr);
	struct iphdr *ip = packet_at(packet, L3, sizeof(*ip));
	struct fragment_scratch *scratch = fragment_scratch_get();
	struct flow *outer;

	if (!ip || !scratch)
		return DROP_ERROR;
	outer = &scratch->outer;
	outer->saddr = destination->source;
	outer->daddr = destination->address;
	outer->protocol = ip->protocol;
	return fragment_remember(outer, ip->id, choice)
		       ? DROP_ERROR
		       : fragment_packet(packet, scratch, length, destination->mtu, FRAG_OUTER);
}

/* Forwards a fragment of a tunnel's packet as it is. */
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

/* The sum over the inner packet, whose TTL is decremented by now. Fragments, SCTP, and UDP without a checksum are
 * read. */
static __always_inline int inner_checksum(struct packet *packet, __u64 *sum)
{
	if (local_checksum_offload(packet, sum))
		return sum_all(packet, sum);
	return 0;
}

static __always_inline enum outcome tun_forward(struct packet *packet, struct destination *destination,
						struct choice *choice, enum hop hop)
{
	/* A GSO packet gets no checksum: every segment would have the same. */
	int gso = skb_is_gso(packet), checksummed = wants_checksum(destination) && !gso;
	int fragmented = packet->hook == HOOK_TC && packet->flow->length > packet->flow->mtu && !gso;
	__u64 sum = 0;

	if (unlikely(settings.clamp_mss) && wants_clamp(packet->flow, destination) &&
	    clamp_mss(packet, tunnel_mss(packet->flow, destination)))
		return DROP_ERROR;
	if (decrement_ttl(packet) || (fragmented && checksum_help(packet)))
		return DROP_ERROR;
	if (checksummed && inner_checksum(packet, &sum))
		return DROP_ERROR;
	if (make_room(packet, destination, tunnel_overhead(destination, checksummed), fragmented) ||
	    write_outer(packet, destination, checksummed ? &sum : 0))
		return DROP_ERROR;
	if (fragmented)
		return fragment_outer(packet, destination, choice, checksummed);
	return send_to_destination(packet, destination, hop, FORWARD_TUN);
}

#endif
