/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Next hops: by which interface and to whose MAC address a packet leaves (docs/decisions/0004).
 *
 * 1. A destination's next hop is in its record. The TC hook looks it up once a second; in between both hooks use
 *    what it found. XDP leaves to TC the packet that finds it a second old.
 * 2. That packet leaves by the kernel's neighbour table, which so sees the neighbour in use, and resolves it if
 *    need be.
 * 3. Towards clients, a NAT connection remembers its next hop in its entry until the routing table changes
 *    (kernel.h). FULLNAT and ICMP errors use a cache by client address.
 * 4. A packet for this host, and one from a virtual address to a client on this host, is redirected to the ingress
 *    of lo. */
#ifndef PYLVS_FORWARD_H
#define PYLVS_FORWARD_H

#include "checksum.h"
#include "kernel.h"
#include "schedule.h"

enum { LOOPBACK = 1 }; /* ifindex of lo, in every namespace */

struct route {
	struct addr address;
	__u32 checked; /* tick */
	__u32 ifindex;
	__u8 neighbour[6]; /* MAC addresses: the next hop's, and our own towards it */
	__u8 own[6];
	__u32 sequence; /* odd while it is written */
	__u32 mtu;      /* of the path, 0: not known */
	__u32 spare[5];
};

/* Next hops towards clients: a direct-mapped cache by address, one cache line each. */
enum { ROUTES = 65536 };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROUTES);
	__type(key, __u32);
	__type(value, struct route);
} routes SEC(".maps");

/* Next hops of NAT's replies, by gateway and interface, which connections share. Slot 0 stands for none. What a slot
 * stands for never changes. */
enum { HOP_BITS = 12, HOPS = 1 << HOP_BITS, HOP_TRIES = 4 };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HOPS);
	__type(key, __u32);
	__type(value, struct route);
} hops SEC(".maps");

/* A lookup in the routing table, and the next hop towards a client that was found. */
struct hop_scratch {
	struct bpf_fib_lookup fib;
	struct route route;
	struct addr gateway;
};
PER_CPU_SCRATCH(hop_scratch)

/* How a packet can leave. */
enum hop {
	HOP_READY,       /* interface and MAC addresses are known */
	HOP_RESOLVE,     /* by the kernel's neighbour table, which so sees the neighbour in use, or resolves it */
	HOP_LOCAL,       /* the address is this host's */
	HOP_NO_ROUTE,    /* the routing table has none */
	HOP_UNREACHABLE, /* the neighbour does not reply to ARP (the kernel's NUD_FAILED) */
	HOP_DEFER_TO_TC  /* XDP does not know */
};

/* Whether a MAC address is not known. Read in words: in bytes it would be two dozen instructions for each packet. */
static __always_inline int is_zero_mac(const __u8 mac[6])
{
	return !(*(const __u32 *)mac | *(const __u16 *)(mac + 4));
}

/* BPF_FIB_LOOKUP_SKIP_NEIGH (Linux 6.3) and BPF_FIB_LOOKUP_SRC (6.7). An older kernel refuses the lookup. */
enum { FIB_SKIP_NEIGHBOUR = 1 << 2, FIB_SOURCE = 1 << 4 };

/* Looks up the route to an address, as for a packet of this host itself: as if from lo (docs/decisions/0004). */
static __always_inline long route_lookup(struct packet *packet, const struct addr *to, struct bpf_fib_lookup *fib,
					 __u32 flags)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = LOOPBACK;
	fib->tot_len = 1; /* else the MTU is not looked up */
	if (addr_is_v4(to)) {
		fib->family = AF_INET;
		fib->ipv4_dst = addr_v4(to);
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_dst, to, sizeof(*to));
	}
	return bpf_fib_lookup(packet->ctx, fib, sizeof(*fib), flags);
}

static __always_inline void gateway_of(const struct bpf_fib_lookup *fib, struct addr *gateway)
{
	if (fib->family == AF_INET)
		addr_from_v4(gateway, fib->ipv4_dst);
	else
		__builtin_memcpy(gateway, fib->ipv6_dst, sizeof(*gateway));
}

/* TUN: learns the path MTU, whether the neighbour is known or not, and the source of the outer header, as the route
 * has them now. A virtual address is not taken for a source if the command has found another: the real server has it
 * too, and would not send ICMP errors about the tunnel here. */
static __always_inline void tunnel_route(struct packet *packet, struct destination *destination,
					 struct bpf_fib_lookup *fib)
{
	struct addr source;

	if (route_lookup(packet, &destination->address, fib, FIB_SKIP_NEIGHBOUR | FIB_SOURCE))
		return;
	destination->mtu = fib->mtu_result;
	if (fib->family == AF_INET)
		addr_from_v4(&source, fib->ipv4_src);
	else
		__builtin_memcpy(&source, fib->ipv6_src, sizeof(source));
	if (addr_equal(&source, &destination->source) || addr_is_zero(&source))
		return;
	if (addr_is_zero(&destination->source) || !filter_has(&source, FILTER_VIP))
		destination->source = source;
}

/* Seconds: the neighbour is unreachable after so many, as for the kernel's own table; and it is asked for anew after
 * so many. */
enum { RESOLVE_SECONDS = 3, FORGET_SECONDS = 10 };

/* How packets leave while the neighbour does not reply to ARP: by the kernel's neighbour table, which goes on asking.
 * After three seconds one packet is refused; then the asking starts anew. */
static __always_inline enum hop destination_resolve(struct destination *destination, __u32 now)
{
	__u32 since = is_zero_mac(destination->neighbour) ? destination->unresolved.since : 0, waiting = now - since;

	__builtin_memset(destination->neighbour, 0, ETH_ALEN);
	if (!since || waiting > FORGET_SECONDS * settings.second) {
		destination->unresolved.since = now ?: 1;
		return HOP_RESOLVE;
	}
	if (waiting < RESOLVE_SECONDS * settings.second)
		return HOP_RESOLVE;
	__builtin_memset(&destination->unresolved, 0, sizeof(destination->unresolved));
	return HOP_UNREACHABLE;
}

static __always_inline int is_route(long result)
{
	return result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/* Where a packet goes when there is no route to its destination. */
static __always_inline enum hop hop_without_route(const struct destination *destination)
{
	return destination->local ? HOP_LOCAL : HOP_NO_ROUTE;
}

/* Looks up the route to a destination and writes it into the record. TC only. */
static __always_inline enum hop destination_route(struct packet *packet, struct destination *destination)
{
	struct hop_scratch *scratch = hop_scratch_get();
	struct bpf_fib_lookup *fib;
	long result;

	if (!scratch)
		return HOP_NO_ROUTE;
	fib = &scratch->fib;
	if (destination->method == METHOD_TUN)
		tunnel_route(packet, destination, fib);
	result = route_lookup(packet, &destination->address, fib, 0);
	destination->checked = packet->flow->now ?: 1;
	if (!is_route(result)) {
		destination->ifindex = 0;
		return hop_without_route(destination);
	}
	gateway_of(fib, &destination->gateway);
	destination->ifindex = fib->ifindex;
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		return destination_resolve(destination, packet->flow->now);
	__builtin_memcpy(destination->neighbour, fib->dmac, ETH_ALEN);
	__builtin_memcpy(destination->own, fib->smac, ETH_ALEN);
	destination->mtu = fib->mtu_result;
	return HOP_RESOLVE;
}

static __always_inline int is_fresh(__u32 now, __u32 checked)
{
	return now - checked < settings.second;
}

/* How a packet to this destination can leave, by what its record has, or after a lookup. */
static __always_inline enum hop destination_hop(struct packet *packet, struct destination *destination)
{
	int fresh = destination->checked && is_fresh(packet->flow->now, destination->checked);

	if (likely(fresh && destination->ifindex && !is_zero_mac(destination->neighbour)))
		return HOP_READY;
	if (packet->hook == HOOK_XDP)
		return HOP_DEFER_TO_TC;
	return destination_route(packet, destination);
}

/* Writes the Ethernet addresses: the neighbour's and our own, which lie one behind the other as in the header. */
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

/* Transmits the packet, complete but for its Ethernet addresses, to the destination's next hop. */
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

/* Copies a route out of a cache, if it is that to `to` (0: whatever it is). Readers take no lock: the copy counts if
 * the sequence number is even, and the same afterwards. */
static __always_inline int route_read(struct route *cached, const struct addr *to, struct route *copy)
{
	__u32 sequence = *(volatile __u32 *)&cached->sequence;

	if (to && !addr_equal(&cached->address, to))
		return 0;
	copy->checked = cached->checked;
	copy->ifindex = cached->ifindex;
	copy->mtu = cached->mtu;
	__builtin_memcpy(copy->neighbour, cached->neighbour, 2 * ETH_ALEN); /* and copy->own */
	return !(sequence & 1) && sequence == *(volatile __u32 *)&cached->sequence && copy->ifindex;
}

/* Writes a route into a cache. The sequence number is odd meanwhile; who finds it odd leaves it to the other writer. */
static __always_inline void route_write(struct route *cached, const struct route *route)
{
	__u32 sequence = cached->sequence & ~1U;

	if (__sync_val_compare_and_swap(&cached->sequence, sequence, sequence | 1) != sequence)
		return;
	cached->address = route->address;
	cached->checked = route->checked;
	cached->ifindex = route->ifindex;
	cached->mtu = route->mtu;
	__builtin_memcpy(cached->neighbour, route->neighbour, ETH_ALEN);
	__builtin_memcpy(cached->own, route->own, ETH_ALEN);
	__sync_lock_test_and_set(&cached->sequence, sequence + 2);
}

/* Looks up the route to a client into `scratch`. HOP_READY: with MAC addresses; HOP_RESOLVE: with the gateway only. */
static __always_inline enum hop client_route(struct packet *packet, const struct addr *client,
					     struct hop_scratch *scratch)
{
	struct bpf_fib_lookup *fib = &scratch->fib;
	struct route *route = &scratch->route;
	long result = route_lookup(packet, client, fib, 0);

	if (result == BPF_FIB_LKUP_RET_NO_NEIGH && packet->hook == HOOK_XDP)
		return HOP_DEFER_TO_TC;
	if (!is_route(result))
		return result == BPF_FIB_LKUP_RET_NOT_FWDED ? HOP_LOCAL : HOP_NO_ROUTE;
	gateway_of(fib, &scratch->gateway);
	route->checked = packet->flow->now;
	route->ifindex = fib->ifindex;
	route->mtu = result == BPF_FIB_LKUP_RET_SUCCESS ? fib->mtu_result : 0;
	__builtin_memcpy(route->neighbour, fib->dmac, ETH_ALEN);
	__builtin_memcpy(route->own, fib->smac, ETH_ALEN);
	return result == BPF_FIB_LKUP_RET_SUCCESS ? HOP_READY : HOP_RESOLVE;
}

/* The next hop towards a client into `scratch`, from the cache by address or from the routing table. */
static __always_inline enum hop client_hop(struct packet *packet, const struct addr *client,
					   struct hop_scratch *scratch)
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

/* The slot of a gateway and interface in `hops`, found or claimed; 0: there is no room. */
static __always_inline __u32 hop_slot(const struct addr *gateway, __u32 ifindex)
{
	__u32 hash = filter_bit(gateway, FILTER_VIP) ^ ifindex * 0x9e5fU; /* an odd number that mixes */

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

/* What a NAT connection remembers of the route to its client: the slot of the next hop in `hops`, and the number of
 * the routing table (kernel.h) when it was looked up. */
static __always_inline __u32 reply_hop_word(__u32 slot, __u32 stamp)
{
	return stamp << HOP_BITS | slot;
}

/* Copies the next hop of a connection, if the routing table is still the same and somebody has used the hop within a
 * second. */
static __always_inline int hop_recall(__u32 word, __u32 stamp, __u32 now, struct route *copy)
{
	__u32 slot = word % HOPS;
	struct route *hop = bpf_map_lookup_elem(&hops, &slot);

	return slot && word == reply_hop_word(slot, stamp) && hop && route_read(hop, 0, copy) &&
	       is_fresh(now, copy->checked);
}

/* The next hop towards the client of a NAT connection into `scratch`: the one that the connection remembers in `word`,
 * or after a lookup. Many connections share the cache line of a next hop, where the cache by address has one for each
 * client. */
static __always_inline enum hop connection_hop(struct packet *packet, const struct addr *client,
					       struct hop_scratch *scratch, __u32 *word)
{
	__u32 now = packet->flow->now, stamp = routing_stamp(packet), slot;
	struct route *hop;
	enum hop found;

	if (likely(hop_recall(*word, stamp, now, &scratch->route)))
		return HOP_READY;
	found = client_route(packet, client, scratch);
	if (found != HOP_READY)
		return found;
	slot = hop_slot(&scratch->gateway, scratch->route.ifindex);
	hop = bpf_map_lookup_elem(&hops, &slot);
	if (slot && hop) {
		scratch->route.address = scratch->gateway;
		if (packet->hook == HOOK_TC || !hop->checked)
			route_write(hop, &scratch->route);
		else if (!is_fresh(now, hop->checked))
			return HOP_DEFER_TO_TC; /* once a second the kernel must see that the neighbour is in use */
		*word = reply_hop_word(slot, stamp);
	}
	return packet->hook == HOOK_TC ? HOP_RESOLVE : HOP_READY;
}

/* Redirects the packet to the ingress of lo, where its source may be one of the host's own addresses. */
static __always_inline enum outcome redirect_to_lo(struct packet *packet, enum outcome outcome)
{
	static const __u8 macs[2 * ETH_ALEN] = {};

	if (set_macs(packet, macs))
		return DROP_ERROR;
	packet->flow->verdict = bpf_redirect(LOOPBACK, BPF_F_INGRESS);
	return outcome;
}

/* Transmits the packet, complete but for its Ethernet addresses, to the next hop in `scratch`. */
static __always_inline enum outcome send_to_client(struct packet *packet, struct hop_scratch *scratch, enum hop hop,
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

/* Decrements the TTL and updates the header's checksum, so that a sum over the whole packet stays what it was. */
static __always_inline void ip_decrease_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100); /* the TTL is the upper byte of its word; RFC 1141 */

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* Decrements TTL or hop limit, which both families have in the first 20 bytes of their header. */
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

/* Whether this is a GSO packet, which the kernel or the NIC will segment. */
static __always_inline int skb_is_gso(struct packet *packet)
{
	return packet->hook == HOOK_TC && ((struct __sk_buff *)packet->ctx)->gso_size;
}

/* Bytes of the largest IP packet that is transmitted for this one: of a GSO packet, a segment. */
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
