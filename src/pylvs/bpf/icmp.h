/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* ICMP errors: those that the director answers with, those about a connection that it passes on, and those about a packet
 * in a tunnel, of which the client must hear. */
#ifndef PYLVS_ICMP_H
#define PYLVS_ICMP_H

#include "forwarders/dr.h"
#include "forwarders/nat.h"
#include "forwarders/tun.h"

/* The kernel quotes as much as makes a packet of 576 bytes (RFC 1812, 4.3.2.3); for IPv6 pylvs does the same. */
enum { QUOTE_MAX = 548, QUOTE_ROOM = 576, QUOTE_BUFFER = 1024 };
enum { SMALLEST_MTU = 68 }; /* RFC 791 */

struct quote_buffer {
	__u8 bytes[QUOTE_BUFFER];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct quote_buffer);
} quote_buffers SEC(".maps");

struct refusal {
	__u8 type;
	__u8 code;
	__u8 type6;
	__u8 code6;
	__u32 mtu;
	struct addr from;
};

/* Whether one more error may be sent: a bucket of tokens, refilled as time goes. */
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

/* Makes what is at `offset` of the packet all that there is of it, behind room for an error's headers; and sums it up. */
static __always_inline int quote(struct packet *packet, __u32 offset, __u32 length, __u32 headers, __u64 *sum)
{
	__u32 zero = 0;
	struct quote_buffer *buffer = bpf_map_lookup_elem(&quote_buffers, &zero);
	__s64 first, second;

	if (!buffer || !length || length > QUOTE_MAX)
		return -1;
	__builtin_memset(buffer, 0, QUOTE_ROOM);
	if (bpf_skb_load_bytes(packet->ctx, offset, buffer, bounded_nonzero(QUOTE_BUFFER, length)))
		return -1;
	first = bpf_csum_diff(0, 0, (void *)buffer, QUOTE_ROOM / 2, 0);
	second = bpf_csum_diff(0, 0, (void *)buffer + QUOTE_ROOM / 2, QUOTE_ROOM / 2, 0);
	if (first < 0 || second < 0)
		return -1;
	*sum = (__u32)first + (__u64)(__u32)second;
	if (bpf_skb_change_tail(packet->ctx, ETH_HLEN + headers + length, 0))
		return -1;
	return bpf_skb_store_bytes(packet->ctx, ETH_HLEN + headers, buffer, bounded_nonzero(QUOTE_BUFFER, length), 0);
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
	ip->tos = (flow->tos & 0x1e) | 0xc0; /* precedence: internetwork control, as RFC 1812 asks */
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*icmp) + quoted);
	ip->id = bpf_get_prandom_u32();
	ip->ttl = 64;
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
	ip->hop_limit = 64;
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

/* An ICMP error is never answered by another, nor is a later fragment (RFC 1122, section 3.2.2; icmp_send()). */
static __always_inline int may_be_refused(const struct flow *flow)
{
	return !(flow->flags & FLOW_ICMP_ERROR) && (flow->family == 6 || flow->fragment != FRAGMENT_LATER);
}

/* Turns the packet into an ICMP error to the source of the flow, that quotes what is at `offset`. TC only. */
static __always_inline int write_refusal(struct packet *packet, const struct refusal *refusal, __u32 offset)
{
	struct flow *flow = packet->flow;
	__u32 quoted = flow->length < QUOTE_MAX ? flow->length : QUOTE_MAX;
	__u64 sum = 0;

	if (quote(packet, offset, quoted, flow->family == 4 ? 28 : 48, &sum))
		return -1;
	return flow->family == 4 ? write_refusal_v4(packet, refusal, quoted, sum)
				 : write_refusal_v6(packet, refusal, quoted, sum);
}

/* Answers the packet by an ICMP error, back to where it came from. */
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

/* The host's address towards where the packet came from; what is there already, where the kernel does not say (before 6.7). */
static __always_inline void host_address(struct packet *packet, struct addr *address)
{
	struct scratch *scratch = scratch_get();

	if (scratch && !route_lookup(packet, &packet->flow->saddr, &scratch->fib, FIB_SKIP_NEIGHBOUR | FIB_SOURCE) &&
	    scratch->fib.ipv4_src)
		addr_from_v4(address, scratch->fib.ipv4_src);
}

/* Answers as the outcome says, from the VIP; but that a real server is silent, in IPv4, from the host, as the kernel does
 * (ipv4_link_failure()). */
static __always_inline enum outcome refuse(struct packet *packet, enum outcome outcome)
{
	struct flow *flow = packet->flow;
	struct refusal refusal = {3, 3, 1, 4, 0, flow->daddr}; /* port unreachable */

	if (outcome == REFUSE_NO_ROUTE)
		refusal = (struct refusal){3, 1, 1, 3, 0, flow->daddr};
	else if (outcome == REFUSE_TTL)
		refusal = (struct refusal){11, 0, 3, 0, 0, flow->daddr};
	else if (outcome == REFUSE_TOO_BIG)
		refusal = (struct refusal){3, 4, 2, 0, flow->mtu, flow->daddr};
	if (flow->flags & FLOW_UNREACHABLE && flow->family == 4)
		host_address(packet, &refusal.from);
	return send_refusal(packet, &refusal, outcome);
}

/* Offset of the IP header that an ICMP error quotes. */
static __always_inline __u32 quote_at(const struct flow *flow)
{
	return flow->l4 + sizeof(struct icmp_header);
}

/* What the IP header at `l3`, which is a quoted one, says. */
static __always_inline int quoted_network(struct packet *packet, __u32 l3, __u8 family, struct flow *quoted)
{
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->now = packet->flow->now;
	quoted->family = family;
	if (family == 4) {
		struct iphdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
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

/* And the ports behind it. */
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

/* The packet that an ICMP error quotes, turned round: its flow is that of the connection it is about. */
static __always_inline int quoted_flow(struct packet *packet, struct flow *quoted)
{
	if (quoted_network(packet, quote_at(packet->flow), packet->flow->family, quoted) ||
	    quoted_transport(packet, quoted))
		return -1;
	flow_reverse(quoted);
	return 0;
}

/* Rewrites the address and port that the quoted packet has at one end. In IPv4 the quoted header's checksum makes up for
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

/* Rewrites, of the quoted packet, what the scratch has first; of the error itself, what it has second. */
static __always_inline int translate_error(struct packet *packet, struct scratch *scratch, enum ttl_change ttl)
{
	return translate_quote(packet, &scratch->quoted, &scratch->first, &scratch->second.old, &scratch->second.new) ||
	       translate_address(packet, L3, &scratch->second, ttl);
}

/* FULLNAT: the real server knows the client as one of our own addresses. */
static __always_inline int hide_client(struct packet *packet, const struct connection *connection,
				       struct scratch *scratch)
{
	__u32 index = connection->timeout;
	struct addr *local = bpf_map_lookup_elem(&local_addresses, &index);

	if (!local)
		return -1;
	translate_from(&scratch->first, &scratch->quoted, local, connection->lport);
	scratch->first.end = END_DESTINATION; /* the quoted packet went the other way */
	translate_from(&scratch->second, packet->flow, local, 0);
	return translate_error(packet, scratch, TTL_KEEP);
}

/* FULLNAT: and the client knows nothing of that address. */
static __always_inline int show_client(struct packet *packet, const struct connection *connection,
				       struct scratch *scratch)
{
	translate_back(&scratch->first, &scratch->quoted, connection);
	scratch->first.end = END_SOURCE;
	translate_back(&scratch->second, packet->flow, connection);
	return translate_error(packet, scratch, TTL_KEEP);
}

/* An error about a packet that a NAT server sent to this client: the server must hear of it under its own address. */
static __always_inline enum outcome nat_forward_error(struct packet *packet, struct destination *destination,
						      struct connection *connection, __be16 rport, enum hop hop)
{
	struct scratch *scratch = scratch_get();

	if (!scratch)
		return DROP_ERROR;
	if (connection && connection->method == METHOD_FULLNAT && hide_client(packet, connection, scratch))
		return DROP_ERROR;
	translate_to(&scratch->first, &scratch->quoted, destination, rport);
	scratch->first.end = END_SOURCE; /* the quoted packet went the other way */
	translate_to(&scratch->second, packet->flow, destination, 0);
	if (translate_error(packet, scratch, TTL_DECREMENT))
		return DROP_ERROR;
	return send_to_destination(packet, destination, hop, FORWARD_ICMP);
}

/* An error from behind NAT to the client: it comes from the VIP and speaks of the VIP. */
static __always_inline enum outcome return_error(struct packet *packet, struct connection *connection,
						 struct scratch *scratch)
{
	struct flow *flow = packet->flow, *quoted = &scratch->quoted;
	struct destination *destination = destination_get(connection->destination);
	int full = connection->method == METHOD_FULLNAT;
	enum hop hop;

	if (packet->hook == HOOK_XDP)
		return PASS_TO_TC;
	hop = client_hop(packet, full ? &connection->client : &flow->daddr, scratch);
	if (!destination || flow->ttl <= 1)
		return PASS_NOT_OURS;
	if (hop == HOP_NO_ROUTE)
		return DROP_NO_ROUTE;
	count_reply(destination, flow->length);
	if (full && show_client(packet, connection, scratch))
		return DROP_ERROR;
	translate_from(&scratch->first, quoted, &connection->virtual, connection->vport);
	scratch->first.end = END_DESTINATION; /* the quoted packet went the other way */
	translate_from(&scratch->second, flow, &connection->virtual, 0);
	if (translate_error(packet, scratch, TTL_DECREMENT))
		return DROP_ERROR;
	return send_to_client(packet, scratch, hop, FORWARD_ICMP);
}

/* What an error about a tunnel's packet quotes. */
struct tunnelled {
	struct addr far; /* the tunnel's end */
	__be16 port;     /* GUE's */
	__u16 inside;    /* offset of the packet in the tunnel */
	__u8 tunnel;
	__u8 family; /* of that packet */
};

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

		if (!udp || gue->version_and_length)
			return -1;
		tunnelled->tunnel = TUNNEL_GUE;
		tunnelled->port = udp->dest;
		tunnelled->inside += sizeof(*udp) + sizeof(*gue);
		protocol = gue->protocol;
	} else if (protocol == PROTO_GRE) {
		struct gre_header *gre = packet_at(packet, outer->l4, sizeof(*gre));

		if (!gre || gre->flags & ~bpf_htons(0x8000))
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

/* The same error about the packet in the tunnel; a size is less by the headers around it. */
static __always_inline int inner_error(struct packet *packet, __u32 overhead, struct refusal *refusal)
{
	struct icmp_header *icmp = transport_at(packet, sizeof(*icmp));
	__u32 mtu;

	if (!icmp)
		return -1;
	if (packet->flow->family == 4) {
		*refusal = (struct refusal){.type = icmp->type, .code = icmp->code, .type6 = 1, .code6 = 3};
		if (icmp->type == 11)
			refusal->type6 = 3, refusal->code6 = 0;
		if (icmp->type != 3 || icmp->code != 4)
			return 0;
		mtu = bpf_ntohs(icmp->word[1]);
	} else {
		*refusal = (struct refusal){.type = 3, .code = 1, .type6 = icmp->type, .code6 = icmp->code};
		if (icmp->type == 3)
			refusal->type = 11, refusal->code = 0;
		if (icmp->type != 2)
			return 0;
		mtu = bpf_ntohs(icmp->word[1]) | (icmp->word[0] ? 0xffff : 0);
	}
	*refusal = (struct refusal){3, 4, 2, 0, mtu > SMALLEST_MTU + overhead ? mtu - overhead : mtu, {}};
	return 0;
}

/* A router on a tunnel's way cannot send a packet on, and says so to the director, which made the tunnel. Whoever sent the
 * packet must know: that is how a client learns the way's MTU. */
__noinline int return_from_tunnel(struct __sk_buff *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow}, inner;
	struct tunnelled tunnelled = {};
	struct scratch *scratch = scratch_get();
	struct destination *destination;
	struct connection *connection;
	struct refusal refusal;
	enum outcome outcome;
	struct ethhdr *eth;
	enum hop hop;

	if (!flow || !scratch || flow->fragment != FRAGMENT_NONE ||
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
	hop = client_hop(&inner, &scratch->quoted.saddr, scratch);
	if (tunnelled.family != flow->family &&
	    hop == HOP_RESOLVE) /* the kernel takes it for one of the tunnel's family */
		hop = is_zero_mac(scratch->route.neighbour) ? HOP_NO_ROUTE : HOP_READY;
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
	outcome = send_to_client(&inner, scratch, hop, FORWARD_ICMP);
	flow->verdict = scratch->quoted.verdict;
	return outcome;
}

#endif
