/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* ICMP errors: those that the director answers with, and those about a connection that it passes on. */
#ifndef PYLVS_ICMP_H
#define PYLVS_ICMP_H

#include "forwarders/dr.h"
#include "forwarders/nat.h"
#include "forwarders/tun.h"

/* The kernel quotes as much as makes a packet of 576 bytes (RFC 1812, 4.3.2.3); for IPv6 pylvs does the same. */
enum { QUOTE_MAX = 548, QUOTE_ROOM = 576, SCRATCH = 1024 };

struct scratch {
	__u8 bytes[SCRATCH];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct refusal {
	__u8 type;
	__u8 code;
	__u8 type6;
	__u8 code6;
	__u32 mtu;
	struct addr from;
};

/* Whether one more error may be sent: a bucket of tokens, refilled as time goes. */
inline_always int icmp_allowed(__u32 now)
{
	__u32 zero = 0, more;
	struct bucket *bucket = bpf_map_lookup_elem(&icmp_tokens, &zero);

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

/* The sum over the quoted bytes, which begin at `offset` of the packet. */
inline_always int sum_of_quote(struct packet *packet, __u32 offset, __u32 length, __u64 *sum)
{
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);
	__s64 first, second;

	if (!scratch || !length || length > QUOTE_MAX)
		return -1;
	__builtin_memset(scratch, 0, QUOTE_ROOM);
	if (bpf_skb_load_bytes(packet->ctx, offset, scratch, one_to(SCRATCH, length)))
		return -1;
	first = bpf_csum_diff(0, 0, (void *)scratch, QUOTE_ROOM / 2, 0);
	second = bpf_csum_diff(0, 0, (void *)scratch + QUOTE_ROOM / 2, QUOTE_ROOM / 2, 0);
	if (first < 0 || second < 0)
		return -1;
	*sum = (__u32)first + (__u64)(__u32)second;
	return 0;
}

inline_always int write_refusal_v4(struct packet *packet, const struct refusal *refusal, __u32 quoted, __u64 sum)
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

inline_always int write_refusal_v6(struct packet *packet, const struct refusal *refusal, __u32 quoted, __u64 sum)
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
inline_always int may_be_answered(const struct flow *flow)
{
	return !(flow->flags & FLOW_ICMP_ERROR) && (flow->family == 6 || flow->fragment != FRAGMENT_LATER);
}

/* Turns the packet into an ICMP error that quotes it, back to where it came from. TC only. */
inline_always enum outcome refuse(struct packet *packet, const struct refusal *refusal, enum outcome outcome)
{
	struct __sk_buff *skb = packet->ctx;
	struct flow *flow = packet->flow;
	__u32 quoted = flow->length < QUOTE_MAX ? flow->length : QUOTE_MAX;
	__u32 headers = flow->family == 4 ? 28 : 48;
	struct ethhdr *eth = packet_at(packet, 0, sizeof(*eth)), swapped;
	__u64 sum = 0;

	if (packet->hook == HOOK_XDP)
		return PASS_TO_TC;
	if (!may_be_answered(flow))
		return DROP_UNANSWERED;
	if (!icmp_allowed(flow->now))
		return DROP_ICMP_LIMIT;
	if (!eth)
		return DROP_ERROR;
	__builtin_memcpy(swapped.h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(swapped.h_source, eth->h_dest, ETH_ALEN);
	swapped.h_proto = eth->h_proto;
	if (bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) || sum_of_quote(packet, ETH_HLEN, quoted, &sum) ||
	    bpf_skb_change_head(skb, headers, 0))
		return DROP_ERROR;
	eth = packet_at(packet, 0, sizeof(*eth));
	if (!eth)
		return DROP_ERROR;
	*eth = swapped;
	if (flow->family == 4 ? write_refusal_v4(packet, refusal, quoted, sum)
			      : write_refusal_v6(packet, refusal, quoted, sum))
		return DROP_ERROR;
	packet_redirect(packet, skb->ifindex);
	return outcome;
}

/* The host's address towards where the packet came from; what is there already, where the kernel does not say (before 6.7). */
inline_always void own_address(struct packet *packet, struct addr *address)
{
	struct desk *desk = desk_get();

	if (desk && !route_lookup(packet, &packet->flow->saddr, &desk->fib, FIB_SKIP_NEIGHBOUR | FIB_SOURCE) &&
	    desk->fib.ipv4_src)
		addr_from_v4(address, desk->fib.ipv4_src);
}

/* Answers as the outcome says, from the VIP; but that a real server is silent, in IPv4, from the host, as the kernel does
 * (ipv4_link_failure()). */
inline_always enum outcome answer(struct packet *packet, enum outcome outcome)
{
	struct flow *flow = packet->flow;
	struct refusal refusal = {3, 3, 1, 4, 0, flow->daddr}; /* port unreachable */

	if (outcome == REFUSE_NO_ROUTE)
		refusal = (struct refusal){3, 1, 1, 3, 0, flow->daddr};
	else if (outcome == REFUSE_TTL)
		refusal = (struct refusal){11, 0, 3, 0, 0, flow->daddr};
	else if (outcome == REFUSE_TOO_BIG)
		refusal = (struct refusal){3, 4, 2, 0, flow->mtu, flow->daddr};
	if (flow->flags & FLOW_SILENT && flow->family == 4)
		own_address(packet, &refusal.from);
	return refuse(packet, &refusal, outcome);
}

/* Offset of the IP header that an ICMP error quotes. */
inline_always __u32 quote_at(const struct flow *flow)
{
	return flow->l4 + sizeof(struct icmp_header);
}

/* The packet that an ICMP error quotes, turned round: its flow is that of the connection it is about. */
inline_always int quoted_flow(struct packet *packet, struct flow *quoted)
{
	struct flow *flow = packet->flow;
	__u32 l3 = quote_at(flow);
	struct ports *ports;

	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->now = flow->now;
	quoted->family = flow->family;
	if (flow->family == 4) {
		struct iphdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
			return -1;
		quoted->protocol = ip->protocol;
		quoted->l4 = l3 + ip->ihl * 4;
		addr_from_v4(&quoted->saddr, ip->daddr);
		addr_from_v4(&quoted->daddr, ip->saddr);
	} else {
		struct ipv6hdr *ip = packet_at(packet, l3, sizeof(*ip));

		if (!ip || ip->version != 6)
			return -1;
		quoted->protocol = ip->nexthdr;
		quoted->l4 = l3 + sizeof(*ip);
		__builtin_memcpy(&quoted->saddr, &ip->daddr, sizeof(quoted->saddr));
		__builtin_memcpy(&quoted->daddr, &ip->saddr, sizeof(quoted->daddr));
	}
	ports = packet_at(packet, quoted->l4, sizeof(*ports));
	if (!ports)
		return -1;
	quoted->sport = ports->dest;
	quoted->dport = ports->source;
	return quoted->protocol == PROTO_TCP || quoted->protocol == PROTO_UDP || quoted->protocol == PROTO_SCTP ? 0
														: -1;
}

/* Rewrites the address and port that the quoted packet has at one end. In IPv4 the quoted header's checksum makes up for
 * the address, so that the sum over the ICMP message changes by the port alone; in IPv6 by both. */
inline_always int translate_quote(struct packet *packet, const struct flow *quoted, const struct translation *change,
				  const struct addr *outer_old, const struct addr *outer_new)
{
	__u64 delta = checksum_delta(change->old_port, change->new_port);
	struct icmp_header *icmp;

	if (translate_address(packet, quote_at(packet->flow), change, AGE_SAME) || set_port(packet, quoted->l4, change))
		return -1;
	if (packet->flow->family == 6)
		delta += checksum_delta_addr(&change->old, &change->new) + checksum_delta_addr(outer_old, outer_new);
	icmp = packet_at(packet, packet->flow->l4, sizeof(*icmp));
	if (!icmp)
		return -1;
	icmp->check = checksum_update(icmp->check, delta);
	return 0;
}

/* Rewrites, of the quoted packet, what the desk has first; of the error itself, what it has second. */
inline_always int translate_error(struct packet *packet, struct desk *desk, enum age age)
{
	return translate_quote(packet, &desk->quoted, &desk->first, &desk->second.old, &desk->second.new) ||
	       translate_address(packet, L3, &desk->second, age);
}

/* FULLNAT: the real server knows the client as one of our own addresses. */
inline_always int hide_client(struct packet *packet, const struct connection *connection, struct desk *desk)
{
	__u32 index = connection->timeout;
	struct addr *local = bpf_map_lookup_elem(&local_addresses, &index);

	if (!local)
		return -1;
	translate_from(&desk->first, &desk->quoted, local, connection->lport);
	desk->first.end = END_DESTINATION; /* the quoted packet went the other way */
	translate_from(&desk->second, packet->flow, local, 0);
	return translate_error(packet, desk, AGE_SAME);
}

/* FULLNAT: and the client knows nothing of that address. */
inline_always int show_client(struct packet *packet, const struct connection *connection, struct desk *desk)
{
	translate_back(&desk->first, &desk->quoted, connection);
	desk->first.end = END_SOURCE;
	translate_back(&desk->second, packet->flow, connection);
	return translate_error(packet, desk, AGE_SAME);
}

/* An error about a packet that a NAT server sent to this client: the server must hear of it under its own address. */
inline_always enum outcome nat_forward_error(struct packet *packet, struct destination *destination,
					     struct connection *connection, __be16 rport, enum hop hop)
{
	struct desk *desk = desk_get();

	if (!desk)
		return DROP_ERROR;
	if (connection && connection->method == METHOD_FULLNAT && hide_client(packet, connection, desk))
		return DROP_ERROR;
	translate_to(&desk->first, &desk->quoted, destination, rport);
	desk->first.end = END_SOURCE; /* the quoted packet went the other way */
	translate_to(&desk->second, packet->flow, destination, 0);
	if (translate_error(packet, desk, AGE_ONE_HOP))
		return DROP_ERROR;
	return send_to_destination(packet, destination, hop, FORWARD_ICMP);
}

/* An error from behind NAT to the client: it comes from the VIP and speaks of the VIP. */
inline_always enum outcome return_error(struct packet *packet, struct connection *connection, struct desk *desk)
{
	struct flow *flow = packet->flow, *quoted = &desk->quoted;
	struct destination *destination = destination_get(connection->destination);
	int full = connection->method == METHOD_FULLNAT;
	enum hop hop;

	if (packet->hook == HOOK_XDP)
		return PASS_TO_TC;
	hop = client_hop(packet, full ? &connection->client : &flow->daddr, desk);
	if (!destination || flow->ttl <= 1 || hop == HOP_LOCAL)
		return PASS_NOT_OURS;
	if (hop == HOP_NONE)
		return DROP_NO_ROUTE;
	count_reply(destination, flow->length);
	if (full && show_client(packet, connection, desk))
		return DROP_ERROR;
	translate_from(&desk->first, quoted, &connection->virtual, connection->vport);
	desk->first.end = END_DESTINATION; /* the quoted packet went the other way */
	translate_from(&desk->second, flow, &connection->virtual, 0);
	if (translate_error(packet, desk, AGE_ONE_HOP))
		return DROP_ERROR;
	return send_to_client(packet, desk, hop, FORWARD_ICMP);
}

#endif
