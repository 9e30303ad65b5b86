/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* How a packet gets on the wire: the next hop, remembered at the destination (or, towards clients, by address).
 * The TC hook asks the routing table, at most once a second for each; in between both hooks use what it found. Replies of NAT
 * ask when it has changed (kernel.h). */
#ifndef PYLVS_FORWARD_H
#define PYLVS_FORWARD_H

#include "checksum.h"
#include "kernel.h"
#include "schedule.h"

#define LOOPBACK 1 /* its ifindex, in every namespace; a lookup "from lo" is that of a packet of our own */

enum hop { HOP_READY, HOP_RESOLVE, HOP_LOCAL, HOP_NO_ROUTE, HOP_UNREACHABLE, HOP_DEFER_TO_TC };

/* Addresses are read and written in words: byte by byte it would be two dozen instructions for each packet. */
static __always_inline int is_zero_mac(const __u8 mac[6])
{
	return !(*(const __u32 *)mac | *(const __u16 *)(mac + 4));
}

/* linux/bpf.h has these since 6.3 and 6.7; a kernel that has not refuses the lookup. */
enum { FIB_SKIP_NEIGHBOUR = 1 << 2, FIB_SOURCE = 1 << 4 };

/* Fills `fib` with the route to an address as the routing table has it for packets of this host. */
static __always_inline long route_lookup(struct packet *packet, const struct addr *to, struct bpf_fib_lookup *fib,
					 __u32 flags)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = LOOPBACK;
	fib->tot_len = 1; /* asks for the path's MTU */
	if (addr_is_v4(to)) {
		fib->family = 2; /* AF_INET */
		fib->ipv4_dst = addr_v4(to);
	} else {
		fib->family = 10; /* AF_INET6 */
		__builtin_memcpy(fib->ipv6_dst, to, sizeof(*to));
	}
	return bpf_fib_lookup(packet->ctx, fib, sizeof(*fib), flags);
}

static __always_inline void gateway_of(const struct bpf_fib_lookup *fib, struct addr *gateway)
{
	if (fib->family == 2)
		addr_from_v4(gateway, fib->ipv4_dst);
	else
		__builtin_memcpy(gateway, fib->ipv6_dst, sizeof(*gateway));
}

/* TUN: the way's MTU, before the neighbour is known, and the outer header's source, as the route has it now. A virtual
 * address is no such source if the command has found another: what is said to it would be said to a real server too. */
static __always_inline void tunnel_route(struct packet *packet, struct destination *destination,
					 struct bpf_fib_lookup *fib)
{
	struct addr source;

	if (route_lookup(packet, &destination->address, fib, FIB_SKIP_NEIGHBOUR | FIB_SOURCE))
		return;
	destination->mtu = fib->mtu_result;
	if (fib->family == 2)
		addr_from_v4(&source, fib->ipv4_src);
	else
		__builtin_memcpy(&source, fib->ipv6_src, sizeof(source));
	if (addr_equal(&source, &destination->source) || !(source.high | source.low >> 32))
		return;
	if (!(destination->source.high | destination->source.low >> 32) || !filter_has(&source, FILTER_VIP))
		destination->source = source;
}

/* The neighbour does not answer yet: ask on, and give up after three seconds, as the kernel's own table does; then start
 * anew. */
enum { ASK_SECONDS = 3, FORGET_SECONDS = 10 };

static __always_inline enum hop destination_ask(struct destination *destination, __u32 now)
{
	__u32 asked = 0, waiting;

	if (is_zero_mac(destination->neighbour))
		__builtin_memcpy(&asked, destination->own, sizeof(asked));
	__builtin_memset(destination->neighbour, 0, 6);
	waiting = now - asked;
	if (!asked || waiting > FORGET_SECONDS * settings.second) {
		asked = now ?: 1;
		__builtin_memcpy(destination->own, &asked, sizeof(asked));
		return HOP_RESOLVE;
	}
	if (waiting < ASK_SECONDS * settings.second)
		return HOP_RESOLVE;
	__builtin_memset(destination->own, 0, 6);
	return HOP_UNREACHABLE;
}

/* Asks the routing table for the way to a destination and writes it there. */
static __always_inline enum hop destination_route(struct packet *packet, struct destination *destination)
{
	struct scratch *scratch = scratch_get();
	struct bpf_fib_lookup *fib;
	long result;

	if (!scratch)
		return HOP_NO_ROUTE;
	fib = &scratch->fib;
	if (destination->method == METHOD_TUN)
		tunnel_route(packet, destination, fib);
	result = route_lookup(packet, &destination->address, fib, 0);
	destination->checked = packet->flow->now ?: 1;
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH) {
		destination->ifindex = 0;
		return destination->local ? HOP_LOCAL : HOP_NO_ROUTE;
	}
	gateway_of(fib, &destination->gateway);
	destination->ifindex = fib->ifindex;
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		return destination_ask(destination, packet->flow->now);
	__builtin_memcpy(destination->neighbour, fib->dmac, 6);
	__builtin_memcpy(destination->own, fib->smac, 6);
	destination->mtu = fib->mtu_result;
	return HOP_RESOLVE;
}

static __always_inline int is_fresh(__u32 now, __u32 checked)
{
	return now - checked < settings.second;
}

/* How the next packet to this destination can leave. READY: address and interface are at the destination. ASK: the same,
 * but through the kernel's neighbour table, which so learns that the neighbour is in use, or asks for it. */
static __always_inline enum hop destination_hop(struct packet *packet, struct destination *destination)
{
	int fresh = destination->checked && is_fresh(packet->flow->now, destination->checked);

	if (likely(fresh && destination->ifindex && !is_zero_mac(destination->neighbour)))
		return HOP_READY;
	if (packet->hook == HOOK_XDP)
		return HOP_DEFER_TO_TC;
	return destination_route(packet, destination);
}

/* The neighbour's address and our own, which lie behind one another as in the header. */
static __always_inline int set_macs(struct packet *packet, const __u8 neighbour[6])
{
	__u32 *word = packet_at(packet, 0, 2 * ETH_ALEN);
	const __u32 *from = (const __u32 *)neighbour;

	if (!word)
		return -1;
	word[0] = from[0];
	word[1] = from[1];
	word[2] = from[2];
	return 0;
}

/* Sends the packet, complete but for its Ethernet addresses, to the destination's next hop. */
static __always_inline enum outcome send_to_destination(struct packet *packet, struct destination *destination,
							enum hop hop, enum outcome outcome)
{
	if (likely(hop == HOP_READY)) {
		if (set_macs(packet, destination->neighbour))
			return DROP_ERROR;
		packet_redirect(packet, destination->ifindex);
		return outcome;
	}
	if (!is_zero_mac(destination->neighbour) && set_macs(packet, destination->neighbour))
		return DROP_ERROR;
	packet_redirect_neighbour(packet, destination->ifindex, &destination->gateway);
	return outcome;
}

/* Readers take a copy, and take it only if no writer was there meanwhile. `to`: if it is the way there. */
static __always_inline int route_read(struct route *cached, const struct addr *to, struct route *copy)
{
	__u32 sequence = *(volatile __u32 *)&cached->sequence;

	if (to && !addr_equal(&cached->address, to))
		return 0;
	copy->checked = cached->checked;
	copy->ifindex = cached->ifindex;
	copy->mtu = cached->mtu;
	__builtin_memcpy(copy->neighbour, cached->neighbour, 2 * ETH_ALEN); /* and our own */
	return !(sequence & 1) && sequence == *(volatile __u32 *)&cached->sequence && copy->ifindex;
}

static __always_inline void route_write(struct route *cached, const struct route *route)
{
	__u32 sequence = cached->sequence & ~1U;

	if (__sync_val_compare_and_swap(&cached->sequence, sequence, sequence | 1) != sequence)
		return;
	cached->address = route->address;
	cached->checked = route->checked;
	cached->ifindex = route->ifindex;
	cached->mtu = route->mtu;
	__builtin_memcpy(cached->neighbour, route->neighbour, 6);
	__builtin_memcpy(cached->own, route->own, 6);
	__sync_lock_test_and_set(&cached->sequence, sequence + 2);
}

/* Asks the routing table for the way to a client, and puts it on the scratch: READY, with the neighbour's address; ASK: with
 * the gateway only. */
static __always_inline enum hop client_route(struct packet *packet, const struct addr *client, struct scratch *scratch)
{
	struct bpf_fib_lookup *fib = &scratch->fib;
	struct route *route = &scratch->route;
	long result = route_lookup(packet, client, fib, 0);

	if (result == BPF_FIB_LKUP_RET_NO_NEIGH && packet->hook == HOOK_XDP)
		return HOP_DEFER_TO_TC;
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return result == BPF_FIB_LKUP_RET_NOT_FWDED ? HOP_LOCAL : HOP_NO_ROUTE;
	gateway_of(fib, &scratch->gateway);
	route->checked = packet->flow->now;
	route->ifindex = fib->ifindex;
	route->mtu = result == BPF_FIB_LKUP_RET_SUCCESS ? fib->mtu_result : 0;
	__builtin_memcpy(route->neighbour, fib->dmac, 6);
	__builtin_memcpy(route->own, fib->smac, 6);
	return result == BPF_FIB_LKUP_RET_SUCCESS ? HOP_READY : HOP_RESOLVE;
}

/* The way to a client, from the cache or from the routing table. It is put on the scratch: the route, and with HOP_RESOLVE the
 * gateway. */
static __always_inline enum hop client_hop(struct packet *packet, const struct addr *client, struct scratch *scratch)
{
	__u32 index = filter_bit(client, FILTER_VIP) % ROUTES;
	struct route *cached = bpf_map_lookup_elem(&routes, &index);
	struct route *route = &scratch->route;
	enum hop hop;

	if (!cached)
		return HOP_NO_ROUTE;
	if (route_read(cached, client, route)) {
		if (is_fresh(packet->flow->now, route->checked))
			return HOP_READY;
		if (packet->hook == HOOK_XDP)
			return HOP_DEFER_TO_TC;
	}
	hop = client_route(packet, client, scratch);
	if (hop == HOP_READY) {
		route->address = *client;
		route_write(cached, route);
	}
	return hop == HOP_READY && packet->hook == HOOK_TC ? HOP_RESOLVE : hop;
}

/* The slot of a gateway in `hops`, found or claimed; 0: there is no room. */
static __always_inline __u32 hop_slot(const struct addr *gateway, __u32 ifindex)
{
	__u32 hash = filter_bit(gateway, FILTER_VIP) ^ ifindex * 0x9e5fU;

	for (__u32 try = 0; try < HOP_TRIES; try++) {
		__u32 slot = (hash + try) % HOPS;
		struct route *hop = bpf_map_lookup_elem(&hops, &slot);

		if (!hop || !slot)
			continue;
		if (!hop->sequence && !__sync_val_compare_and_swap(&hop->sequence, 0, 1)) {
			hop->address = *gateway;
			hop->ifindex = ifindex;
			__sync_lock_test_and_set(&hop->sequence, 2);
			return slot;
		}
		if (hop->ifindex == ifindex && addr_equal(&hop->address, gateway))
			return slot;
	}
	return 0;
}

/* What a connection remembers of the way to its client: the slot of the next hop, and the stamp under which it was asked
 * for. */
static __always_inline __u32 hop_word(__u32 slot, __u32 stamp)
{
	return stamp << HOP_BITS | slot;
}

static __always_inline int hop_recall(__u32 word, __u32 stamp, __u32 now, struct route *copy)
{
	__u32 slot = word % HOPS;
	struct route *hop = bpf_map_lookup_elem(&hops, &slot);

	return slot && word == hop_word(slot, stamp) && hop && route_read(hop, 0, copy) && is_fresh(now, copy->checked);
}

/* The way to the client of a NAT connection, which is in `word` as long as the routing table is the same: a line that many
 * connections share, where the cache by address has one for each client. */
static __always_inline enum hop connection_hop(struct packet *packet, const struct addr *client,
					       struct scratch *scratch, __u32 *word)
{
	__u32 now = packet->flow->now, stamp = routing_stamp(packet), slot;
	struct route *hop;
	enum hop way;

	if (likely(hop_recall(*word, stamp, now, &scratch->route)))
		return HOP_READY;
	way = client_route(packet, client, scratch);
	if (way != HOP_READY)
		return way;
	slot = hop_slot(&scratch->gateway, scratch->route.ifindex);
	hop = bpf_map_lookup_elem(&hops, &slot);
	if (slot && hop) {
		scratch->route.address = scratch->gateway;
		if (packet->hook == HOOK_TC || !hop->checked)
			route_write(hop, &scratch->route);
		else if (!is_fresh(now, hop->checked))
			return HOP_DEFER_TO_TC; /* once a second the kernel must see that the neighbour is in use */
		*word = hop_word(slot, stamp);
	}
	return packet->hook == HOOK_TC ? HOP_RESOLVE : HOP_READY;
}

/* In by lo, where one of the host's own addresses may be the source. */
static __always_inline enum outcome redirect_to_lo(struct packet *packet, enum outcome outcome)
{
	static const __u8 macs[2 * ETH_ALEN] = {};

	if (set_macs(packet, macs))
		return DROP_ERROR;
	packet->flow->verdict = bpf_redirect(LOOPBACK, BPF_F_INGRESS);
	return outcome;
}

static __always_inline enum outcome send_to_client(struct packet *packet, struct scratch *scratch, enum hop hop,
						   enum outcome outcome)
{
	const struct route *route = &scratch->route;

	if (hop == HOP_LOCAL)
		return redirect_to_lo(packet, outcome);
	if (!is_zero_mac(route->neighbour) && set_macs(packet, route->neighbour))
		return DROP_ERROR;
	if (hop == HOP_READY)
		packet_redirect(packet, route->ifindex);
	else
		packet_redirect_neighbour(packet, route->ifindex, &scratch->gateway);
	return outcome;
}

/* One hop less to live. The checksum of the header follows, and so does a sum over the whole packet. */
static __always_inline void ip_decrease_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100); /* RFC 1141 */

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* Both families have the field within the first 20 bytes of their header. */
static __always_inline int decrement_ttl(struct packet *packet)
{
	void *header = packet_at(packet, L3, sizeof(struct iphdr));

	if (!header)
		return -1;
	if (packet->flow->family == 4)
		ip_decrease_ttl(header);
	else
		((struct ipv6hdr *)header)->hop_limit--;
	return 0;
}

/* Whether the kernel carries many segments or datagrams as this one, to be cut before the wire. */
static __always_inline int skb_is_gso(struct packet *packet)
{
	return packet->hook == HOOK_TC && ((struct __sk_buff *)packet->ctx)->gso_size;
}

/* Bytes of the largest IP packet that this one is on the wire: a segment, where the kernel carries many as one. */
static __always_inline __u32 wire_length(struct packet *packet)
{
	struct flow *flow = packet->flow;
	__u32 headers = flow->l4 - L3 + sizeof(struct udphdr), segment;
	struct tcphdr *tcp;

	if (!skb_is_gso(packet))
		return flow->length;
	if (flow->protocol == PROTO_TCP) {
		tcp = packet_at(packet, flow->l4, sizeof(*tcp));
		headers = flow->l4 - L3 + (tcp ? ((__u8 *)tcp)[TH_LENGTH_AT] >> 4 << 2 : 0);
	}
	segment = headers + ((struct __sk_buff *)packet->ctx)->gso_size;
	return segment < flow->length ? segment : flow->length;
}

#endif
