/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The packet and the two hooks it can be met at: where its bytes are, what it says, how it leaves.
 * The only place that checks bounds: `packet_at` gives bytes that exist, or nothing. */
#ifndef PYLVS_PACKET_H
#define PYLVS_PACKET_H

#include "maps.h"

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

enum hook { HOOK_XDP, HOOK_TC };

enum fragment_kind { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };

enum flow_flag {
	FLOW_SYN = 1,
	FLOW_OPENS = 2,
	FLOW_DF = 4,
	FLOW_ICMP_ERROR = 8,
	FLOW_COUNTED = 16,        /* a piece of a packet that was cut here */
	FLOW_UNREACHABLE = 32,    /* with REFUSE_NO_ROUTE: its real server does not answer ARP */
	FLOW_OUTER_FRAGMENT = 64, /* a piece as well, of a tunnel's packet */
};

enum { L3 = sizeof(struct ethhdr) }; /* offset of the IP header: frames with a VLAN tag are not looked into */

/* What a packet says, as numbers: the slow functions get this, never the packet. */
struct flow {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u16 l4;     /* offset of the transport header from the start of the frame */
	__u16 mtu;    /* with REFUSE_TOO_BIG: what would have fitted */
	__u32 length; /* bytes of the IP packet */
	__u32 now;    /* tick */
	__u32 mark;
	__u32 id; /* of a fragment */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u8 flags;
	__u8 event; /* what the state machine is told: tcp_event or sctp_event */
	__u8 fragment;
	__u8 ttl;
	__u8 tos;
	__u8 spare;
	__u32 chosen;  /* slot of the destination that was scheduled for this packet */
	__s32 verdict; /* where the packet was sent, if it was */
};

enum end { END_SOURCE, END_DESTINATION };

/* One end of a packet changes its address and port. */
struct translation {
	enum end end;
	__be16 old_port;
	__be16 new_port;
	struct addr old;
	struct addr new;
};

/* Where the pieces of a packet begin and end. In bytes behind its header. */
struct fragmentation {
	__u32 at; /* so much of it has gone */
	__u32 length;
	__u32 largest;  /* piece */
	__u32 fragment; /* the packet's own offset and flags */
	__u32 mark;     /* of its pieces */
};

enum { PIECE = 512 };

/* Room for what the slower ways need and the stack has not: the verifier allows 512 bytes for all calls together. */
struct scratch {
	struct flow quoted;
	struct translation first;
	struct translation second;
	struct route route;
	struct addr gateway;
	struct bpf_fib_lookup fib;
	struct fragment_key fragment_key;
	struct fragmentation cut;
	struct fragment fragment; /* what the fragment's first left */
	struct reply_key reply_key;
	struct connection template;
	struct cached cached;
	struct cached_key cached_key;
	__u32 replaced; /* the destination of the connection that was here before */
	__u32 replaced_flags;
	__u8 piece[PIECE + 8]; /* of a packet that has to be read; what is behind is zero */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch_space SEC(".maps");

static __always_inline struct scratch *scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch_space, &zero);
}

struct packet {
	void *ctx;
	enum hook hook;
	struct flow *flow;
};

static __always_inline int is_counted(const struct packet *packet)
{
	return packet->hook == HOOK_TC && unlikely(packet->flow->flags & FLOW_COUNTED);
}

/* RFC 792 and RFC 4443; the kernel's headers for them want the C library's. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 word[2]; /* IPv4: unused and MTU; IPv6: both are the MTU */
};

struct ports {
	__be16 source;
	__be16 dest;
};

struct vlan_header {
	__be16 tci;
	__be16 protocol;
};

struct sctp_header {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 checksum;
	__u8 chunk;
	__u8 chunk_flags;
	__be16 chunk_length;
};

/* `size` bytes at `offset`, or nothing. */
static __always_inline void *packet_at(struct packet *packet, __u32 offset, __u32 size)
{
	void *data, *end;

	if (packet->hook == HOOK_XDP) {
		data = context_word(packet->ctx, struct xdp_md, data);
		end = context_word(packet->ctx, struct xdp_md, data_end);
	} else {
		data = context_word(packet->ctx, struct __sk_buff, data);
		end = context_word(packet->ctx, struct __sk_buff, data_end);
	}
	data += __builtin_constant_p(offset) ? offset : bounded(offset, 0xfff);
	__builtin_assume(data != 0); /* else clang asks again, after each check of bounds */
	return data + size <= end ? data : 0;
}

/* Whether the frame is as long as its IP header says. The kernel drops one that is not, in front of IPVS. */
static __always_inline int is_whole(struct packet *packet)
{
	__u32 wanted = L3 + packet->flow->length;

	if (packet->hook == HOOK_TC)
		return ((struct __sk_buff *)packet->ctx)->len >= wanted;
	/* Only the first part of a frame in several can be looked at; all of it counts. */
	return context_word(packet->ctx, struct xdp_md, data_end) - context_word(packet->ctx, struct xdp_md, data) >=
		       wanted ||
	       bpf_xdp_get_buff_len(packet->ctx) >= wanted;
}

static __always_inline void addr_from_v4(struct addr *addr, __be32 v4)
{
	addr->high = 0;
	addr->low = (__u64)v4 << 32 | 0xffff0000ULL;
}

static __always_inline __be32 addr_v4(const struct addr *addr)
{
	return addr->low >> 32;
}

static __always_inline int addr_is_v4(const struct addr *addr)
{
	return !addr->high && (__u32)addr->low == 0xffff0000U;
}

/* IPv6's four words folded into one, IPv4 as it is: what the kernel's hash schedulers hash. Network order. */
static __always_inline __be32 addr_fold(const struct addr *addr)
{
	if (addr_is_v4(addr))
		return addr_v4(addr);
	return (__u32)addr->high ^ (__u32)(addr->high >> 32) ^ (__u32)addr->low ^ (__u32)(addr->low >> 32);
}

/* The transport header's first bytes: they must be the packet's, not what pads the frame. */
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

/* Bytes of the packet, however it lies in memory. */
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

/* RFC 9260, section 3.2: chunk types 0 to 14. Not 16 long: clang 14 would put it in a section that BTF misses. */
enum { SCTP_CHUNKS = 24 };
static const __u8 sctp_event_of_chunk[SCTP_CHUNKS] = {
	SCTP_DATA,  SCTP_EVENT_INIT, SCTP_EVENT_INIT_ACK,    SCTP_DATA,  SCTP_DATA,        SCTP_DATA,
	SCTP_ABORT, SCTP_SHUTDOWN,   SCTP_SHUTDOWN_ACK,      SCTP_ERROR, SCTP_COOKIE_ECHO, SCTP_COOKIE_ACK,
	SCTP_DATA,  SCTP_DATA,       SCTP_SHUTDOWN_COMPLETE, SCTP_DATA};

enum { CHUNK_INIT = 1, CHUNK_ABORT = 6, CHUNK_COOKIE_ECHO = 10, CHUNK_COOKIE_ACK = 11, CHUNK_HEADER = 4 };

/* An ABORT may follow a cookie in the same packet, and counts then (set_sctp_state of ip_vs_proto_sctp.c). */
static __always_inline int sctp_aborts(struct packet *packet, __u32 length)
{
	struct flow *flow = packet->flow;
	__u32 offset = flow->l4 + 12 + ((length + 3) & ~3U);
	__u8 chunk = 0;

	if (length < CHUNK_HEADER || offset + CHUNK_HEADER > L3 + flow->length)
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

/* An ICMP error speaks of another packet: the flow becomes that packet's, turned round, so that it finds the
 * connection whose packet was quoted. ICMP that is no error is nobody's; nor is, as in IPVS, a "parameter problem" of
 * IPv4. */
static __always_inline int parse_icmp(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct icmp_header *icmp = transport_at(packet, sizeof(*icmp));

	if (!icmp)
		return -1;
	if (icmp->type == 3 || icmp->type == 11 || icmp->type == 4)
		flow->flags |= FLOW_ICMP_ERROR;
	return 0;
}

static __always_inline int parse_icmpv6(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct icmp_header *icmp = transport_at(packet, sizeof(*icmp));

	if (!icmp)
		return -1;
	if (icmp->type >= 1 && icmp->type <= 4)
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

enum { IPV4_PLAIN = 0x45, IP_DF = 0x4000, IP_MF = 0x2000, IP_MF_OR_OFFSET = 0x3fff, IP_FRAGMENT_OFFSET = 0x1fff };

static __always_inline int parse_ipv4(struct flow *flow, const struct iphdr *ip)
{
	__u32 header = sizeof(*ip);
	__u8 first = *(const __u8 *)ip;

	if (unlikely(first != IPV4_PLAIN)) {
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
	if (unlikely(ip->frag_off & bpf_htons(IP_MF_OR_OFFSET))) {
		flow->fragment = ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET) ? FRAGMENT_LATER : FRAGMENT_FIRST;
		flow->id = ip->id;
	}
	addr_from_v4(&flow->saddr, ip->saddr);
	addr_from_v4(&flow->daddr, ip->daddr);
	return flow->length < header ? -1 : 0;
}

struct extension {
	__u8 next;
	__u8 length;
	__be16 offset; /* of a fragment header */
	__be32 id;
};

/* Steps over IPv6 extension headers (RFC 8200), at most six. */
static __always_inline int parse_extensions(struct packet *packet, __u8 next)
{
	struct flow *flow = packet->flow;

	for (int i = 0; i < 6; i++) {
		struct extension *extension;

		if (next != 0 && next != 43 && next != 60 && next != 44 && next != 51)
			break;
		extension = packet_at(packet, flow->l4, sizeof(*extension));
		if (!extension)
			return -1;
		if (next == 44) {
			flow->fragment = extension->offset & bpf_htons(0xfff8) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			flow->id = extension->id;
			flow->l4 += 8;
		} else if (next == 51) {
			flow->l4 += (extension->length + 2) * 4;
		} else {
			flow->l4 += (extension->length + 1) * 8;
		}
		next = extension->next;
		if (flow->fragment == FRAGMENT_LATER)
			break;
	}
	flow->protocol = next;
	return flow->l4 > 1024 ? -1 : 0;
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

/* A mapped address in an IPv6 header would be taken for IPv4's. The kernel drops such a packet (ip6_rcv_core()). */
__noinline int is_mapped(struct flow *flow)
{
	return flow && (addr_is_v4(&flow->saddr) || addr_is_v4(&flow->daddr));
}

/* A source that nobody on a wire has: the kernel drops such a packet in front of IPVS (ip_route_input_slow(),
 * ip6_rcv_core()). */
__noinline int is_martian(struct flow *flow)
{
	__u32 v4;

	if (!flow)
		return 1;
	if (flow->family == 6) /* multicast, and :: or ::1 */
		return (flow->saddr.high & 0xff) == 0xff || (!flow->saddr.high && !(flow->saddr.low & ~(1ULL << 56)));
	v4 = bpf_ntohl(addr_v4(&flow->saddr));
	return !v4 || v4 >> 24 == 127 || v4 >> 28 == 14 || v4 == 0xffffffff;
}

/* The frame's first headers into `packet->flow`; PASS_* says why it is not one to look at, OUTCOMES that it is. */
static __always_inline enum outcome parse_network(struct packet *packet)
{
	struct ethhdr *frame = packet_at(packet, 0, L3 + sizeof(struct iphdr)); /* what every IP packet has */
	struct flow *flow = packet->flow;
	int bad;

	if (!frame)
		return PASS_MALFORMED;
	if (likely(frame->h_proto == bpf_htons(ETH_P_IP))) {
		bad = parse_ipv4(flow, (struct iphdr *)(frame + 1));
	} else if (frame->h_proto == bpf_htons(ETH_P_IPV6)) {
		bad = parse_ipv6(packet) || is_mapped(flow);
	} else {
		/* The kernel takes the tag off and shows the packet again on the VLAN's own interface. */
		if (frame->h_proto == bpf_htons(ETH_P_8021Q) || frame->h_proto == bpf_htons(ETH_P_8021AD))
			return PASS_VLAN;
		return PASS_NOT_IP;
	}
	return bad || !is_whole(packet) ? PASS_MALFORMED : OUTCOMES;
}

/* The flow the other way. */
static __always_inline void flow_reverse(struct flow *flow)
{
	struct addr source = flow->saddr;
	__be16 port = flow->sport;

	flow->saddr = flow->daddr;
	flow->daddr = source;
	flow->sport = flow->dport;
	flow->dport = port;
}

/* The interface's number. */
static __always_inline __u32 ingress_ifindex(const struct packet *packet)
{
	return packet->hook == HOOK_XDP ? (__u32)(long)context_word(packet->ctx, struct xdp_md, ingress_ifindex)
					: ((struct __sk_buff *)packet->ctx)->ifindex;
}

/* Leaves by an interface, as it is. */
static __always_inline void packet_redirect(struct packet *packet, __u32 ifindex)
{
	if (packet->hook == HOOK_XDP && likely(!settings.redirect_back) && ingress_ifindex(packet) == ifindex)
		packet->flow->verdict = XDP_TX;
	else
		packet->flow->verdict = bpf_redirect(ifindex, 0);
}

/* Leaves by an interface; the kernel finds the neighbour's address, or asks for it and waits. */
static __always_inline void packet_redirect_neighbour(struct packet *packet, __u32 ifindex, const struct addr *gateway)
{
	struct bpf_redir_neigh next;

	if (packet->hook == HOOK_XDP)
		return; /* it has no such helper, and does not come here */
	__builtin_memset(&next, 0, sizeof(next));

	if (addr_is_v4(gateway)) {
		next.nh_family = 2; /* AF_INET */
		next.ipv4_nh = addr_v4(gateway);
	} else {
		next.nh_family = 10; /* AF_INET6 */
		__builtin_memcpy(next.ipv6_nh, gateway, sizeof(next.ipv6_nh));
	}
	packet->flow->verdict = bpf_redirect_neigh(ifindex, &next, sizeof(next), 0);
}

#endif
