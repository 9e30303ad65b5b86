/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* ICMP errors: three kinds.
 *
 * 1. A refusal: the director generates an error about a packet that it does not forward (refuse()).
 * 2. An error about a packet of a connection is forwarded along it. It quotes that packet, by which the connection
 *    is found (quoted_flow()). With NAT the quoted packet is translated as the error itself (nat_forward_error(),
 *    return_error()).
 * 3. An error about a tunnel's packet comes to the director, which sent that. The client must know, so the error is
 *    made one about the inner packet (return_from_tunnel()). */
#ifndef PYLVS_ICMP_H
#define PYLVS_ICMP_H

#include "forwarders/nat.h"
#include "forwarders/tun.h"

/* The kernel quotes as much as makes a packet of 576 bytes (RFC 1812, section 4.3.2.3); for IPv6 pylvs does the same.
 * A sum is over QUOTE_SUMMED bytes, a multiple of 4 in halves of at most 512; QUOTE_LIMIT is the next power of two. */
enum { QUOTE_MAX = 548, QUOTE_SUMMED = 576, QUOTE_LIMIT = 1024 };

struct quote_scratch {
	__u8 bytes[QUOTE_LIMIT] __attribute__((aligned(8)));
};
PER_CPU_SCRATCH(quote_scratch)

/* A received ICMP error: the flow of the packet that it quotes, and how the quoted packet and the error itself are
 * translated. */
struct error_scratch {
	struct flow quoted;
	struct translation inner;
	struct translation outer;
};
PER_CPU_SCRATCH(error_scratch)

/* An ICMP error that the director generates. */
struct refusal {
	__u8 type;
	__u8 code;
	__u8 type6; /* the same for IPv6 */
	__u8 code6;
	__u32 mtu;
	struct addr from;
};

/* Tokens for ICMP errors, refilled as time goes. */
struct token_bucket {
	__u32 tick;
	__u32 tokens;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct token_bucket);
} icmp_tokens SEC(".maps");

/* Whether one more error may be sent. */
static __always_inline int icmp_allowed(__u32 now)
{
	__u32 zero = 0, more;
	struct token_bucket *bucket = bpf_map_lookup_elem(&icmp_tokens, &zero);

	if (!bucket || !settings.icmp_rate)
		return 1;
	more = (__u64)(now - bucket->tick) * settings.icmp_rate / (settings.second ?: 1);
	if (more) {
		bucket->tokens =
			bucket->tokens + more > settings.icmp_rate ? settings.icmp_rate : bucket->tokens + more;
		bucket->tick = now;
	}
	if (!bucket->tokens)
		return 0;
	bucket->tokens--;
	return 1;
}

/* Replaces the packet by room for an error's headers, and `length` bytes of the packet from `offset` on, whose sum is
 * returned. */
static __always_inline int quote(struct packet *packet, __u32 offset, __u32 length, __u32 headers, __u64 *sum)
{
	struct quote_scratch *copy = quote_scratch_get();
	__s64 first, second;

	if (!copy || !length || length > QUOTE_MAX)
		return -1;
	__builtin_memset(copy, 0, QUOTE_SUMMED);
	if (bpf_skb_load_bytes(packet->ctx, offset, copy, bounded_nonzero(QUOTE_LIMIT, length)))
		return -1;
	first = bpf_csum_diff(0, 0, (void *)copy, QUOTE_SUMMED / 2, 0);
	second = bpf_csum_diff(0, 0, (void *)copy + QUOTE_SUMMED / 2, QUOTE_SUMMED / 2, 0);
	if (first < 0 || second < 0)
		return -1;
	*sum = (__u32)first + (__u64)(__u32)second;
	if (bpf_skb_change_tail(packet->ctx, ETH_HLEN + headers + length, 0))
		return -1;
	return bpf_skb_store_bytes(packet->ctx, ETH_HLEN + headers, copy, bounded_nonzero(QUOTE_LIMIT, length), 0);
}

static __always_inline int write_refusal_v4(struct packet *packet, const struct refusal *refusal, __u32 quoted,
					    __u64 sum)
{
	struct flow *flow = packet->flow;
	struct iphdr *ip = packet_at(packet, ETH_HLEN, sizeof(*ip) + sizeof(struct icmp_header));
	struct icmp_header *icmp = (void *)(ip + 1);

	if (!ip)
		return -1;
	__builtin_memset(ip, 0, sizeof(*ip) + sizeof(*icmp));
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = (flow->tos & IPTOS_TOS_MASK) | IPTOS_PREC_INTERNETCONTROL; /* RFC 1812, section 4.3.2.5 */
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*icmp) + quoted);
	ip->id = bpf_get_prandom_u32();
	ip->ttl = IPDEFTTL;
	ip->protocol = PROTO_ICMP;
	ip->saddr = addr_v4(&refusal->from);
	ip->daddr = addr_v4(&flow->saddr);
	ip->check =
		~checksum_fold(((__u32 *)ip)[0] + (__u64)((__u32 *)ip)[1] + ((__u32 *)ip)[2] + ip->saddr + ip->daddr);
	icmp->type = refusal->type;
	icmp->code = refusal->code;
	icmp->word[1] = bpf_htons(refusal->mtu);
	icmp->check = ~checksum_fold(*(__u16 *)icmp + sum + icmp->word[1]);
	return 0;
}

static __always_inline int write_refusal_v6(struct packet *packet, const struct refusal *refusal, __u32 quoted,
					    __u64 sum)
{
	struct flow *flow = packet->flow;
	struct ipv6hdr *ip = packet_at(packet, ETH_HLEN, sizeof(*ip) + sizeof(struct icmp_header));
	struct icmp_header *icmp = (void *)(ip + 1);
	__u32 length = sizeof(*icmp) + quoted;

	if (!ip)
		return -1;
	*(__be32 *)ip = bpf_htonl(6U << 28);
	ip->payload_len = bpf_htons(length);
	ip->nexthdr = PROTO_ICMPV6;
	ip->hop_limit = IPDEFTTL;
	__builtin_memcpy(&ip->saddr, &refusal->from, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &flow->saddr, sizeof(ip->daddr));
	__builtin_memset(icmp, 0, sizeof(*icmp));
	icmp->type = refusal->type6;
	icmp->code = refusal->code6;
	icmp->word[1] = bpf_htons(refusal->mtu);
	sum += sum_of_pseudo_header(&refusal->from, &flow->saddr, PROTO_ICMPV6, length) + *(__u16 *)icmp +
	       (__u64)icmp->word[1];
	icmp->check = ~checksum_fold(sum);
	return 0;
}

/* Whether an ICMP error may be sent about the packet: not about an ICMP error nor a later fragment (RFC 1122, section
 * 3.2.2; icmp_send()). */
static __always_inline int may_be_refused(const struct flow *flow)
{
	return !(flow->flags & FLOW_ICMP_ERROR) && (flow->family == 6 || flow->fragment != FRAGMENT_LATER);
}

/* Turns the packet into an ICMP error to the source of the flow, which quotes what is at `offset`. TC only. */
/* Bytes of an ICMP error's own headers. */
static __always_inline __u32 error_headers(__u8 family)
{
	return (family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + sizeof(struct icmp_header);
}

static __always_inline int write_refusal(struct packet *packet, const struct refusal *refusal, __u32 offset)
{
	struct flow *flow = packet->flow;
	__u32 quoted = flow->length < QUOTE_MAX ? flow->length : QUOTE_MAX;
	__u64 sum = 0;

	if (quote(packet, offset, quoted, error_headers(flow->family), &sum))
		return -1;
	return flow->family == 4 ? write_refusal_v4(packet, refusal, quoted, sum)
				 : write_refusal_v6(packet, refusal, quoted, sum);
}

/* Sends an ICMP error back to where the packet came from. */
static __always_inline enum outcome send_refusal(struct packet *packet, const struct refusal *refusal,
						 enum outcome outcome)
{
	struct __sk_buff *skb = packet->ctx;
	struct ethhdr *eth, swapped;

	if (packet->hook == HOOK_XDP)
		return PASS_TO_TC;
	if (!may_be_refused(packet->flow))
		return DROP_UNANSWERED;
	if (!icmp_allowed(packet->flow->now))
		return DROP_ICMP_LIMIT;
	if (write_refusal(packet, refusal, ETH_HLEN))
		return DROP_ERROR;
	eth = packet_at(packet, 0, sizeof(*eth));
	if (!eth)
		return DROP_ERROR;
	__builtin_memcpy(swapped.h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(swapped.h_source, eth->h_dest, ETH_ALEN);
	swapped.h_proto = eth->h_proto;
	*eth = swapped;
	packet_redirect(packet, skb->ifindex);
	return outcome;
}

/* The host's address towards where the packet came from; unchanged where the kernel does not say (before Linux 6.7). */
static __always_inline void host_address(struct packet *packet, struct addr *address)
{
	struct hop_scratch *scratch = hop_scratch_get();

	if (scratch && !route_lookup(packet, &packet->flow->saddr, &scratch->fib, FIB_SKIP_NEIGHBOUR | FIB_SOURCE) &&
	    scratch->fib.ipv4_src)
		addr_from_v4(address, scratch->fib.ipv4_src);
}

/* Refuses the packet as the outcome says. The error comes from the VIP; but that a real server is unreachable comes,
 * in IPv4, from the host, as the kernel has it (ipv4_link_failure()). */
static __always_inline enum outcome refuse(struct packet *packet, enum outcome outcome)
{
	struct flow *flow = packet->flow;
	struct refusal refusal = {
		ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0, {}};

	if (outcome == REFUSE_NO_ROUTE)
		refusal = (struct refusal){
			ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0, {}};
	else if (outcome == REFUSE_TTL)
		refusal = (struct refusal){
			ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, ICMPV6_TIME_EXCEED, ICMPV6_EXC_HOPLIMIT, 0, {}};
	else if (outcome == REFUSE_TOO_BIG)
		refusal = (struct refusal){ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, ICMPV6_PKT_TOOBIG, 0, flow->mtu, {}};
	refusal.from = flow->daddr;
	if ((flow->flags & FLOW_UNREACHABLE) && flow->family == 4)
		host_address(packet, &refusal.from);
	return send_refusal(packet, &refusal, outcome);
}

/* Offset of the IP header that an ICMP error quotes. */
static __always_inline __u32 quote_at(const struct flow *flow)
{
	return flow->l4 + sizeof(struct icmp_header);
}

/* Reads the quoted IP header at `l3`. */
static __always_inline int quoted_network(struct packet *packet, __u32 l3, __u8 family, struct flow *quoted)
{
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->now = packet->flow->now;
	quoted->family = family;
	if (family == 4) {
		struct iphdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || (ip->frag_off & bpf_htons(IP_OFFSET)))
			return -1;
		quoted->protocol = ip->protocol;
		quoted->tos = ip->tos;
		quoted->l4 = l3 + ip->ihl * 4;
		addr_from_v4(&quoted->saddr, ip->saddr);
		addr_from_v4(&quoted->daddr, ip->daddr);
	} else {
		struct ipv6hdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip || ip->version != 6)
			return -1;
		quoted->protocol = ip->nexthdr;
		quoted->l4 = l3 + sizeof(*ip);
		__builtin_memcpy(&quoted->saddr, &ip->saddr, sizeof(quoted->saddr));
		__builtin_memcpy(&quoted->daddr, &ip->daddr, sizeof(quoted->daddr));
	}
	return 0;
}

/* Reads the ports behind a quoted IP header. */
static __always_inline int quoted_transport(struct packet *packet, struct flow *quoted)
{
	struct ports *ports = packet_at(packet, quoted->l4, sizeof(*ports));

	if (!ports)
		return -1;
	quoted->sport = ports->source;
	quoted->dport = ports->dest;
	return quoted->protocol == PROTO_TCP || quoted->protocol == PROTO_UDP || quoted->protocol == PROTO_SCTP ? 0
														: -1;
}

/* Reads the packet that an ICMP error quotes. Its flow is reversed: who sends the error is on the side of the quoted
 * packet's receiver, so the flow is that of a packet which comes from there. */
static __always_inline int quoted_flow(struct packet *packet, struct flow *quoted)
{
	if (quoted_network(packet, quote_at(packet->flow), packet->flow->family, quoted) ||
	    quoted_transport(packet, quoted))
		return -1;
	flow_reverse(quoted);
	return 0;
}

/* Rewrites the address and port that the quoted packet has at one end. In IPv4 the quoted header's checksum balances
 * the address, so that the sum over the ICMP message changes by the port alone; in IPv6 by both. */
static __always_inline int translate_quote(struct packet *packet, const struct flow *quoted,
					   const struct translation *change, const struct addr *outer_old,
					   const struct addr *outer_new)
{
	__u64 delta = checksum_delta(change->old_port, change->new_port);
	struct icmp_header *icmp;

	if (translate_address(packet, quote_at(packet->flow), change, TTL_KEEP) || set_port(packet, quoted->l4, change))
		return -1;
	if (packet->flow->family == 6)
		delta += checksum_delta_addr(&change->old, &change->new) + checksum_delta_addr(outer_old, outer_new);
	icmp = packet_at(packet, packet->flow->l4, sizeof(*icmp));
	if (!icmp)
		return -1;
	icmp->check = checksum_update(icmp->check, delta);
	return 0;
}

/* Rewrites the quoted packet and the error itself as `scratch` says. */
static __always_inline int translate_error(struct packet *packet, struct error_scratch *scratch, enum ttl_change ttl)
{
	return translate_quote(packet, &scratch->quoted, &scratch->inner, &scratch->outer.old, &scratch->outer.new) ||
	       translate_address(packet, L3, &scratch->outer, ttl);
}

/* FULLNAT, towards the real server: it knows the client as one of our own addresses. */
static __always_inline int hide_client(struct packet *packet, const struct connection *connection,
				       struct error_scratch *scratch)
{
	__u32 index = connection->local;
	struct addr *local = bpf_map_lookup_elem(&local_addresses, &index);

	if (!local)
		return -1;
	translate_from(&scratch->inner, &scratch->quoted, local, connection->lport);
	scratch->inner.end = END_DESTINATION; /* the quoted packet has the opposite direction */
	translate_from(&scratch->outer, packet->flow, local, 0);
	return translate_error(packet, scratch, TTL_KEEP);
}

/* FULLNAT, towards the client: it does not know that address. */
static __always_inline int show_client(struct packet *packet, const struct connection *connection,
				       struct error_scratch *scratch)
{
	translate_back(&scratch->inner, &scratch->quoted, connection);
	scratch->inner.end = END_SOURCE;
	translate_back(&scratch->outer, packet->flow, connection);
	return translate_error(packet, scratch, TTL_KEEP);
}

/* Forwards an error about a packet that a real server behind NAT sent to this client. It is to be about the server's
 * own address. `scratch` has the quoted flow. Out of line, as forward_tc() is. */
__noinline int nat_forward_error(struct __sk_buff *ctx, struct flow *flow, struct error_scratch *scratch,
				 struct choice *choice, int hop)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};
	struct destination *destination = choice ? destination_get(choice->destination) : 0;
	struct connection *connection;

	if (!flow || !scratch || !choice || !destination)
		return DROP_ERROR;
	connection = choice->number && choice->method == METHOD_FULLNAT ? connection_get(choice->number - 1) : 0;
	if (connection && hide_client(&packet, connection, scratch))
		return DROP_ERROR;
	translate_to(&scratch->inner, &scratch->quoted, destination, choice->rport);
	scratch->inner.end = END_SOURCE; /* the quoted packet has the opposite direction */
	translate_to(&scratch->outer, flow, destination, 0);
	if (translate_error(&packet, scratch, TTL_DECREMENT))
		return DROP_ERROR;
	return send_to_destination(&packet, destination, hop, FORWARD_ICMP);
}

/* Forwards an error from behind NAT to the client. It is to come from the VIP and to be about the VIP. */
static __always_inline enum outcome return_error(struct packet *packet, struct connection *connection,
						 struct error_scratch *scratch)
{
	struct flow *flow = packet->flow, *quoted = &scratch->quoted;
	struct destination *destination = destination_get(connection->destination);
	int full = connection->method == METHOD_FULLNAT;
	struct hop_scratch *route = hop_scratch_get();
	enum hop hop;

	if (packet->hook == HOOK_XDP)
		return PASS_TO_TC;
	if (!route)
		return DROP_ERROR;
	hop = client_hop(packet, full ? &connection->client : &flow->daddr, route);
	if (!destination || flow->ttl <= 1)
		return PASS_NOT_OURS;
	if (hop == HOP_NO_ROUTE)
		return DROP_NO_ROUTE;
	count_reply(destination, flow->length);
	if (full && show_client(packet, connection, scratch))
		return DROP_ERROR;
	translate_from(&scratch->inner, quoted, &connection->virtual, connection->vport);
	scratch->inner.end = END_DESTINATION; /* the quoted packet has the opposite direction */
	translate_from(&scratch->outer, flow, &connection->virtual, 0);
	if (translate_error(packet, scratch, TTL_DECREMENT))
		return DROP_ERROR;
	return send_to_client(packet, route, hop, FORWARD_ICMP);
}

/* What an error about a tunnel's packet quotes. */
struct tunnelled {
	struct addr far; /* the tunnel's other end */
	__be16 port;     /* GUE's */
	__u16 inside;    /* offset of the inner packet */
	__u8 tunnel;
	__u8 family; /* of the inner packet */
};

/* Reads the tunnel's headers that an ICMP error quotes. */
static __always_inline int parse_tunnel_quote(struct packet *packet, struct flow *outer, struct tunnelled *tunnelled)
{
	__u8 protocol;

	if (quoted_network(packet, quote_at(packet->flow), packet->flow->family, outer))
		return -1;
	protocol = outer->protocol;
	tunnelled->far = outer->daddr;
	tunnelled->inside = outer->l4;
	if (protocol == PROTO_UDP) {
		struct udphdr *udp = packet_at(packet, outer->l4, sizeof(*udp) + sizeof(struct gue_header));
		struct gue_header *gue = (void *)(udp + 1);

		if (!udp || gue->variant_and_length)
			return -1;
		tunnelled->tunnel = TUNNEL_GUE;
		tunnelled->port = udp->dest;
		tunnelled->inside += sizeof(*udp) + sizeof(*gue);
		protocol = gue->protocol;
	} else if (protocol == PROTO_GRE) {
		struct gre_header *gre = packet_at(packet, outer->l4, sizeof(*gre));

		if (!gre || (gre->flags & ~bpf_htons(GRE_CSUM)))
			return -1;
		tunnelled->tunnel = TUNNEL_GRE;
		tunnelled->inside += sizeof(*gre) + (gre->flags ? sizeof(struct gre_checksum) : 0);
		protocol = gre->protocol == bpf_htons(ETH_P_IP)     ? PROTO_IPIP
			   : gre->protocol == bpf_htons(ETH_P_IPV6) ? PROTO_IPV6
								    : 0;
	}
	tunnelled->family = protocol == PROTO_IPIP ? 4 : 6;
	return protocol == PROTO_IPIP || protocol == PROTO_IPV6 ? 0 : -1;
}

/* The error about the inner packet that corresponds to one about the tunnel's: an MTU is less by its headers. */
static __always_inline int inner_error(struct packet *packet, __u32 overhead, struct refusal *refusal)
{
	struct icmp_header *icmp = transport_at(packet, sizeof(*icmp));
	__u32 mtu;

	if (!icmp)
		return -1;
	if (packet->flow->family == 4) {
		*refusal = (struct refusal){.type = icmp->type,
					    .code = icmp->code,
					    .type6 = ICMPV6_DEST_UNREACH,
					    .code6 = ICMPV6_ADDR_UNREACH};
		if (icmp->type == ICMP_TIME_EXCEEDED) {
			refusal->type6 = ICMPV6_TIME_EXCEED;
			refusal->code6 = ICMPV6_EXC_HOPLIMIT;
		}
		if (icmp->type != ICMP_DEST_UNREACH || icmp->code != ICMP_FRAG_NEEDED)
			return 0;
		mtu = bpf_ntohs(icmp->word[1]);
	} else {
		*refusal = (struct refusal){
			.type = ICMP_DEST_UNREACH, .code = ICMP_HOST_UNREACH, .type6 = icmp->type, .code6 = icmp->code};
		if (icmp->type == ICMPV6_TIME_EXCEED) {
			refusal->type = ICMP_TIME_EXCEEDED;
			refusal->code = ICMP_EXC_TTL;
		}
		if (icmp->type != ICMPV6_PKT_TOOBIG)
			return 0;
		mtu = bpf_ntohs(icmp->word[1]) | (icmp->word[0] ? 0xffff : 0);
	}
	*refusal = (struct refusal){ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, ICMPV6_PKT_TOOBIG, 0, mtu, {}};
	if (mtu > IPV4_MIN_MTU + overhead)
		refusal->mtu -= overhead;
	return 0;
}

/* Forwards an error about a tunnel's packet, which a router on the tunnel's path sent to the director, to the sender
 * of the inner packet: that is how a client learns the path MTU. */
__noinline int return_from_tunnel(struct __sk_buff *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow}, inner;
	struct tunnelled tunnelled = {};
	struct error_scratch *scratch = error_scratch_get();
	struct hop_scratch *route = hop_scratch_get();
	struct destination *destination;
	struct connection *connection;
	struct refusal refusal;
	enum outcome outcome;
	struct ethhdr *eth;
	enum hop hop;

	if (!flow || !scratch || !route || flow->fragment != FRAGMENT_NONE ||
	    parse_tunnel_quote(&packet, &scratch->quoted, &tunnelled) ||
	    inner_error(&packet, tunnelled.inside - quote_at(flow), &refusal) ||
	    quoted_network(&packet, tunnelled.inside, tunnelled.family, &scratch->quoted) ||
	    quoted_transport(&packet, &scratch->quoted))
		return PASS_NOT_OURS;
	connection = connection_get(connection_lookup(&scratch->quoted, 0) - 1);
	destination = connection && connection->method == METHOD_TUN ? destination_get(connection->destination) : 0;
	if (!destination || !addr_equal(&destination->address, &tunnelled.far) ||
	    destination->tunnel != tunnelled.tunnel ||
	    (tunnelled.tunnel == TUNNEL_GUE && destination->tunnel_port != tunnelled.port))
		return PASS_NOT_OURS;
	refusal.from = scratch->quoted.daddr;
	scratch->quoted.length = L3 + flow->length - tunnelled.inside;
	inner = (struct packet){.ctx = ctx, .hook = HOOK_TC, .flow = &scratch->quoted};
	hop = client_hop(&inner, &scratch->quoted.saddr, route);
	if (tunnelled.family != flow->family &&
	    hop == HOP_RESOLVE) /* the kernel would take it for a packet of the tunnel's family */
		hop = is_zero_mac(route->route.neighbour) ? HOP_NO_ROUTE : HOP_READY;
	if (hop == HOP_NO_ROUTE)
		return DROP_NO_ROUTE;
	if (!icmp_allowed(flow->now))
		return DROP_ICMP_LIMIT;
	if (write_refusal(&inner, &refusal, tunnelled.inside))
		return DROP_ERROR;
	eth = packet_at(&inner, 0, sizeof(*eth));
	if (!eth)
		return DROP_ERROR;
	eth->h_proto = tunnelled.family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	outcome = send_to_client(&inner, route, hop, FORWARD_ICMP);
	flow->verdict = scratch->quoted.verdict;
	return outcome;
}

#endif
