/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* A packet: where its bytes are, what its headers say, and the redirect by which it leaves.
 *
 * 1. parse_network() reads Ethernet and IP, and tells fragments. It is all that most packets which are not ours
 *    meet.
 * 2. parse_transport() reads TCP, UDP, SCTP or ICMP, as far as they matter.
 * 3. Both write `struct flow`, numbers that the rest of the director goes by: the slow functions get the flow,
 *    never the packet.
 * Bounds are checked in packet_at() and nowhere else: it gives bytes that are there, or 0. */
#ifndef PYLVS_PACKET_H
#define PYLVS_PACKET_H

#include "maps.h"
#include "protocols.h"

#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

enum fragment_kind { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };

enum flow_flag {
	FLOW_SYN = 1,             /* TCP: SYN; SCTP: INIT */
	FLOW_OPENS = 2,           /* may open a connection */
	FLOW_DF = 4,              /* must not be fragmented */
	FLOW_ICMP_ERROR = 8,      /* an ICMP error, which is about another packet */
	FLOW_COUNTED = 16,        /* re-injected, or a fragment made here: its packet was counted already */
	FLOW_UNREACHABLE = 32,    /* with REFUSE_NO_ROUTE: the neighbour does not reply to ARP */
	FLOW_OUTER_FRAGMENT = 64, /* a fragment made here of a tunnel's packet */
};

/* What a packet says, as numbers. */
struct flow {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u16 l4;     /* offset of the transport header from the start of the frame */
	__u16 mtu;    /* of the path, once it is known */
	__u32 length; /* bytes of the IP packet */
	__u32 now;    /* tick */
	__u32 mark;
	__u32 id; /* a fragment's */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u8 flags;
	__u8 event; /* tcp_event or sctp_event, for the state machine */
	__u8 fragment;
	__u8 ttl;
	__u8 tos;
	__u8 spare;
	__u32 chosen;  /* slot of the destination that was scheduled for this packet */
	__s32 verdict; /* if it leaves */
};

struct packet {
	void *ctx;
	enum hook hook;
	struct flow *flow;
};

static __always_inline int is_counted(const struct packet *packet)
{
	return packet->hook == HOOK_TC && unlikely(packet->flow->flags & FLOW_COUNTED);
}

enum { HEADERS_MAX = 4096 }; /* offsets that are not constant are below this */

/* `size` bytes of the packet at `offset`, or 0 if it has not so many there. */
static __always_inline void *packet_at(struct packet *packet, __u32 offset, __u32 size)
{
	return frame_at(packet->ctx, packet->hook, offset, size, HEADERS_MAX);
}

/* Whether the frame is as long as its IP header says. The kernel drops one that is not before IPVS sees it. */
static __always_inline int is_whole(struct packet *packet)
{
	__u32 wanted = L3 + packet->flow->length;

	if (packet->hook == HOOK_TC)
		return ((struct __sk_buff *)packet->ctx)->len >= wanted;
	/* Only the first buffer of a multi-buffer frame can be read; its whole length counts. */
	return context_word(packet->ctx, struct xdp_md, data_end) - context_word(packet->ctx, struct xdp_md, data) >=
		       wanted ||
	       bpf_xdp_get_buff_len(packet->ctx) >= wanted;
}

/* The first bytes of the transport header. They must be the packet's, not the frame's padding. */
static __always_inline void *transport_at(struct packet *packet, __u32 size)
{
	struct flow *flow = packet->flow;

	if (flow->l4 + size > L3 + flow->length)
		return 0;
	return packet_at(packet, flow->l4, size);
}

/* TCP's events in the order in which the kernel looks for them. */
enum tcp_event { EVENT_SYN, EVENT_FIN, EVENT_ACK, EVENT_RST, EVENT_NONE };

enum tcp_header_flag { TH_FIN = 1, TH_SYN = 2, TH_RST = 4, TH_ACK = 16, TH_LENGTH_AT = 12, TH_FLAGS_AT = 13 };

static __always_inline int parse_tcp(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct tcphdr *tcp = transport_at(packet, sizeof(*tcp));
	__u8 flags;

	if (!tcp)
		return -1;
	flow->sport = tcp->source;
	flow->dport = tcp->dest;
	flags = ((__u8 *)tcp)[TH_FLAGS_AT];
	flow->event = flags & TH_ACK ? EVENT_ACK : EVENT_NONE;
	if (likely(!(flags & (TH_RST | TH_SYN | TH_FIN))))
		return 0;
	if (flags & TH_RST)
		flow->event = EVENT_RST;
	else if (flags & TH_SYN)
		flow->event = EVENT_SYN;
	else
		flow->event = EVENT_FIN;
	if (flags & TH_SYN)
		flow->flags |= flags & TH_RST ? FLOW_SYN : FLOW_SYN | FLOW_OPENS;
	return 0;
}

/* Copies bytes of the packet, wherever they lie: also behind the linear part that packet_at() sees. */
static __always_inline long load_bytes(struct packet *packet, __u32 offset, void *to, __u32 size)
{
	if (packet->hook == HOOK_XDP)
		return bpf_xdp_load_bytes(packet->ctx, offset, to, size);
	return bpf_skb_load_bytes(packet->ctx, offset, to, size);
}

enum sctp_event {
	SCTP_DATA,
	SCTP_EVENT_INIT,
	SCTP_EVENT_INIT_ACK,
	SCTP_COOKIE_ECHO,
	SCTP_COOKIE_ACK,
	SCTP_SHUTDOWN,
	SCTP_SHUTDOWN_ACK,
	SCTP_SHUTDOWN_COMPLETE,
	SCTP_ERROR,
	SCTP_ABORT,
	SCTP_EVENTS
};

/* RFC 9260, section 3.2: chunk types 0 to 14. More than 16 bytes: clang 14 would put 16 constant bytes into a section
 * .rodata.cst16, which BTF does not describe and libbpf refuses. */
enum { SCTP_CHUNKS = 24 };
static const __u8 sctp_event_of_chunk[SCTP_CHUNKS] = {
	SCTP_DATA,  SCTP_EVENT_INIT, SCTP_EVENT_INIT_ACK,    SCTP_DATA,  SCTP_DATA,        SCTP_DATA,
	SCTP_ABORT, SCTP_SHUTDOWN,   SCTP_SHUTDOWN_ACK,      SCTP_ERROR, SCTP_COOKIE_ECHO, SCTP_COOKIE_ACK,
	SCTP_DATA,  SCTP_DATA,       SCTP_SHUTDOWN_COMPLETE, SCTP_DATA};

enum { CHUNK_INIT = 1, CHUNK_ABORT = 6, CHUNK_COOKIE_ECHO = 10, CHUNK_COOKIE_ACK = 11 };

/* An ABORT may follow a cookie in the same packet, and counts then (set_sctp_state() of ip_vs_proto_sctp.c). */
static __always_inline int sctp_aborts(struct packet *packet, __u32 length)
{
	struct flow *flow = packet->flow;
	__u32 offset = flow->l4 + SCTP_COMMON_HEADER + ((length + 3) & ~3U); /* chunks are padded to 4 bytes */
	__u8 chunk = 0;

	if (length < SCTP_CHUNK_HEADER || offset + SCTP_CHUNK_HEADER > L3 + flow->length)
		return 0;
	return !load_bytes(packet, offset, &chunk, sizeof(chunk)) && chunk == CHUNK_ABORT;
}

static __always_inline int parse_sctp(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct sctp_header *sctp = transport_at(packet, sizeof(*sctp));

	if (!sctp)
		return -1;
	flow->sport = sctp->source;
	flow->dport = sctp->dest;
	flow->event = sctp->chunk < SCTP_CHUNKS ? sctp_event_of_chunk[sctp->chunk] : SCTP_DATA;
	if (sctp->chunk == CHUNK_INIT)
		flow->flags |= FLOW_SYN | FLOW_OPENS;
	else if ((sctp->chunk == CHUNK_COOKIE_ECHO || sctp->chunk == CHUNK_COOKIE_ACK) &&
		 sctp_aborts(packet, bpf_ntohs(sctp->chunk_length)))
		flow->event = SCTP_ABORT;
	return 0;
}

static __always_inline int parse_udp(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct udphdr *udp = transport_at(packet, sizeof(*udp));

	if (!udp)
		return -1;
	flow->sport = udp->source;
	flow->dport = udp->dest;
	return 0;
}

/* Only ICMP errors may be ours: their flow is then that of the packet that they quote (quoted_flow() of icmp.h). As in
 * IPVS an IPv4 "parameter problem" is none of them. */
static __always_inline int parse_icmp(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct icmp_header *icmp = transport_at(packet, sizeof(*icmp));

	if (!icmp)
		return -1;
	if (icmp->type == ICMP_DEST_UNREACH || icmp->type == ICMP_TIME_EXCEEDED || icmp->type == ICMP_SOURCE_QUENCH)
		flow->flags |= FLOW_ICMP_ERROR;
	return 0;
}

static __always_inline int parse_icmpv6(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct icmp_header *icmp = transport_at(packet, sizeof(*icmp));

	if (!icmp)
		return -1;
	if (icmp->type >= ICMPV6_DEST_UNREACH && icmp->type <= ICMPV6_PARAMPROB)
		flow->flags |= FLOW_ICMP_ERROR;
	return 0;
}

static __always_inline int parse_transport(struct packet *packet)
{
	struct flow *flow = packet->flow;

	if (flow->fragment == FRAGMENT_LATER)
		return 0;
	switch (flow->protocol) {
	case PROTO_TCP: return parse_tcp(packet);
	case PROTO_UDP: flow->flags |= FLOW_OPENS; return parse_udp(packet);
	case PROTO_SCTP: return parse_sctp(packet);
	case PROTO_ICMP: return flow->family == 4 ? parse_icmp(packet) : 0;
	case PROTO_ICMPV6: return flow->family == 6 ? parse_icmpv6(packet) : 0;
	}
	return 0;
}

static __always_inline int parse_ipv4(struct flow *flow, const struct iphdr *ip)
{
	__u32 header = sizeof(*ip);
	__u8 first = *(const __u8 *)ip;

	if (unlikely(first != IPV4_NO_OPTIONS)) {
		header = (first & 15) * 4;
		if (first >> 4 != 4 || header < sizeof(*ip))
			return -1;
	}
	flow->family = 4;
	flow->l4 = L3 + header;
	flow->length = bpf_ntohs(ip->tot_len);
	flow->protocol = ip->protocol;
	flow->ttl = ip->ttl;
	flow->tos = ip->tos;
	if (ip->frag_off & bpf_htons(IP_DF))
		flow->flags |= FLOW_DF;
	if (unlikely(ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))) {
		flow->fragment = ip->frag_off & bpf_htons(IP_OFFSET) ? FRAGMENT_LATER : FRAGMENT_FIRST;
		flow->id = ip->id;
	}
	addr_from_v4(&flow->saddr, ip->saddr);
	addr_from_v4(&flow->daddr, ip->daddr);
	return flow->length < header ? -1 : 0;
}

enum { EXTENSIONS_MAX = 6, TRANSPORT_AT_MAX = 1024 };

/* Steps over IPv6 extension headers (RFC 8200, section 4), which say their lengths in three ways. */
static __always_inline int parse_extensions(struct packet *packet, __u8 next)
{
	struct flow *flow = packet->flow;

	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		struct extension *extension;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH)
			break;
		extension = packet_at(packet, flow->l4, sizeof(*extension));
		if (!extension)
			return -1;
		if (next == IPPROTO_FRAGMENT) {
			flow->fragment = extension->offset & bpf_htons(IP6_OFFSET) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			flow->id = extension->id;
			flow->l4 += IP6_FRAGMENT_HEADER;
		} else if (next == IPPROTO_AH) {
			flow->l4 += (extension->length + 2) * 4;
		} else {
			flow->l4 += (extension->length + 1) * 8;
		}
		next = extension->next;
		if (flow->fragment == FRAGMENT_LATER)
			break;
	}
	flow->protocol = next;
	return flow->l4 > TRANSPORT_AT_MAX ? -1 : 0;
}

static __always_inline int parse_ipv6(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct ipv6hdr *ip = packet_at(packet, L3, sizeof(*ip));

	if (!ip || ip->version != 6)
		return -1;
	flow->family = 6;
	flow->l4 = L3 + sizeof(*ip);
	flow->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	flow->ttl = ip->hop_limit;
	flow->tos = (ip->priority << 4) | (ip->flow_lbl[0] >> 4);
	flow->flags |= FLOW_DF;
	__builtin_memcpy(&flow->saddr, &ip->saddr, sizeof(flow->saddr));
	__builtin_memcpy(&flow->daddr, &ip->daddr, sizeof(flow->daddr));
	return parse_extensions(packet, ip->nexthdr);
}

/* A mapped address in an IPv6 header, which would be taken for IPv4's. The kernel drops such a packet
 * (ip6_rcv_core()). */
__noinline int is_mapped(struct flow *flow)
{
	return flow && (addr_is_v4(&flow->saddr) || addr_is_v4(&flow->daddr));
}

/* A martian source: the kernel drops such a packet before IPVS sees it (ip_route_input_slow(), ip6_rcv_core()). */
__noinline int is_martian(struct flow *flow)
{
	__u32 v4;

	if (!flow)
		return 1;
	if (flow->family == 6) /* ff00::/8, :: and ::1 */
		return (flow->saddr.high & 0xff) == 0xff || (!flow->saddr.high && !(flow->saddr.low & ~(1ULL << 56)));
	v4 = bpf_ntohl(addr_v4(&flow->saddr));
	return !v4 || v4 >> 24 == IN_LOOPBACKNET || IN_MULTICAST(v4) || v4 == INADDR_BROADCAST;
}

/* Reads Ethernet and IP into `packet->flow`. OUTCOMES: go on; else PASS_*, why this packet is passed. */
static __always_inline enum outcome parse_network(struct packet *packet)
{
	struct ethhdr *frame = packet_at(packet, 0, L3 + sizeof(struct iphdr)); /* every IP packet has these */
	struct flow *flow = packet->flow;
	int bad;

	if (!frame)
		return PASS_MALFORMED;
	if (likely(frame->h_proto == bpf_htons(ETH_P_IP))) {
		bad = parse_ipv4(flow, (struct iphdr *)(frame + 1));
	} else if (frame->h_proto == bpf_htons(ETH_P_IPV6)) {
		bad = parse_ipv6(packet) || is_mapped(flow);
	} else {
		/* The kernel removes the tag, and the packet is received again on the VLAN's own interface. */
		if (frame->h_proto == bpf_htons(ETH_P_8021Q) || frame->h_proto == bpf_htons(ETH_P_8021AD))
			return PASS_VLAN;
		return PASS_NOT_IP;
	}
	return bad || !is_whole(packet) ? PASS_MALFORMED : OUTCOMES;
}

/* Makes the flow that of the opposite direction. */
static __always_inline void flow_reverse(struct flow *flow)
{
	struct addr source = flow->saddr;
	__be16 port = flow->sport;

	flow->saddr = flow->daddr;
	flow->daddr = source;
	flow->sport = flow->dport;
	flow->dport = port;
}

static __always_inline __u32 ingress_ifindex(const struct packet *packet)
{
	return packet->hook == HOOK_XDP ? (__u32)(long)context_word(packet->ctx, struct xdp_md, ingress_ifindex)
					: ((struct __sk_buff *)packet->ctx)->ifindex;
}

/* Transmits the packet as it is. */
static __always_inline void packet_redirect(struct packet *packet, __u32 ifindex)
{
	if (packet->hook == HOOK_XDP && likely(!settings.redirect_back) && ingress_ifindex(packet) == ifindex)
		packet->flow->verdict = XDP_TX;
	else
		packet->flow->verdict = bpf_redirect(ifindex, 0);
}

/* Transmits the packet to a next hop by the kernel's neighbour table, which resolves its MAC address if need be. TC
 * only. */
static __always_inline void packet_redirect_neighbour(struct packet *packet, __u32 ifindex, const struct addr *gateway)
{
	struct bpf_redir_neigh next;

	if (packet->hook == HOOK_XDP)
		return; /* the helper is TC's */
	__builtin_memset(&next, 0, sizeof(next));

	if (addr_is_v4(gateway)) {
		next.nh_family = AF_INET;
		next.ipv4_nh = addr_v4(gateway);
	} else {
		next.nh_family = AF_INET6;
		__builtin_memcpy(next.ipv6_nh, gateway, sizeof(next.ipv6_nh));
	}
	packet->flow->verdict = bpf_redirect_neigh(ifindex, &next, sizeof(next), 0);
}

#endif
