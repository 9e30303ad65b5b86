// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The far end of a tunnel, on a real server whose kernel has no tunnel device. A packet's way:
 *	outer header -> for this host? -> what does it carry (IPIP, GUE, GRE)? -> is the inner packet for a VIP that
 *	was joined? -> take the outer headers off -> the local stack
 * What is not ours, or not whole, passes untouched; each packet is counted under one name. The outer checksums of GUE and
 * GRE are not read: the inner packet's own are checked by the stack.
 * A tunnelled packet that was cut on its way is not put together here: each piece of it becomes a piece of the inner
 * packet, which the stack puts together. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "verifier.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum hook { HOOK_XDP, HOOK_TC };

/* IPv4 is mapped (::ffff:a.b.c.d), as in abi.h. */
struct addr {
	__u64 high;
	__u64 low;
};

/* What became of a packet; the names are what `pylvs realserver status` prints. */
enum far_outcome {
	FAR_PASS_OTHER = 0,  /* not a tunnel */
	FAR_PASS_NOT_HERE,   /* a tunnel that goes on to another host */
	FAR_PASS_NOT_JOINED, /* carries a packet for an address that was not joined */
	FAR_PASS_FRAGMENT,   /* a piece of a tunnelled packet without those before it, or at XDP */
	FAR_PASS_OPTION,     /* GRE with key or sequence, GUE with flags: nothing IPVS sends */
	FAR_PASS_MALFORMED,
	FAR_PASS_REFUSED, /* the kernel would not take the outer header off */
	FAR_IPIP,
	FAR_GUE,
	FAR_GRE,
	FAR_PIECE,
	FAR_DROP_ECN, /* congestion was marked on a packet that cannot say so: RFC 6040 drops it */
	FAR_OUTCOMES,
};

struct far_settings {
	__be16 gue_port;
	__u16 spare[3];
};

struct far_abi {
	enum far_outcome outcome;
	struct far_settings settings;
};
volatile const struct far_abi far_abi = {};

/* Of `inject`: set before loading. */
volatile const __u32 inject_mark = 0;
volatile const __u32 inject_interface = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct addr);
	__type(value, __u64); /* packets unwrapped for this VIP */
} joined SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct far_settings);
} far_settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAR_OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} far_outcomes SEC(".maps");

/* What the later pieces of a tunnelled packet need of those before. A piece of the inner packet has to end after a multiple
 * of 8 bytes: what is left over comes before the next one. */
struct piece_key {
	__be32 saddr;
	__be32 daddr;
	__be16 id;
	__be16 protocol;
};

struct piece {
	struct iphdr header; /* the inner packet's */
	__u32 next;          /* bytes of the outer packet up to here */
	__u32 passed;        /* bytes behind the inner header that went to the stack */
	__u32 left;          /* bytes in `over` */
	__u8 over[8];
};

/* Bounded: the oldest go. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct piece_key);
	__type(value, struct piece);
} pieces SEC(".maps");

enum { OFFSET_UNIT = 8, IP_MF = 0x2000, IP_OFFSET = 0x1fff, L3 = sizeof(struct ethhdr) };

struct packet {
	void *ctx;
	enum hook hook;
	struct piece_key whole; /* what this is a piece of, if `cut` */
	__u16 cut;              /* flags and offset of a piece of the outer packet, host order; 0: it is all of it */
	__u32 payload;          /* where the outer IPv4 header ends */
	__u32 inner;            /* offset of the inner packet from the start of the frame */
	__u32 end;              /* where the outer packet ends; what is behind pads the frame */
	__u8 protocol;          /* of what comes next: IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_UDP, IPPROTO_GRE */
	__u8 outer_version;     /* 4 or 6 */
	__u8 inner_version;
	__u8 outer_ecn;
	enum far_outcome kind;
};

struct gue_header {
	__u8 variant_and_length;
	__u8 protocol;
	__be16 flags;
};

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

/* `size` bytes at `offset`, or nothing: the only place that checks bounds. */
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
	asm volatile("" : "+r"(offset));
	data += offset & 0x1ff;
	return data + size <= end ? data : 0;
}

static __always_inline __u32 packet_length(struct packet *packet)
{
	if (packet->hook == HOOK_TC)
		return ((struct __sk_buff *)packet->ctx)->len;
	return (long)context_word(packet->ctx, struct xdp_md, data_end) -
	       (long)context_word(packet->ctx, struct xdp_md, data);
}

static __always_inline void addr_from_v4(struct addr *addr, __be32 v4)
{
	addr->high = 0;
	addr->low = (__u64)v4 << 32 | 0xffff0000ULL;
}

/* The outer addresses, and where its header ends. FAR_OUTCOMES: go on. */
static __always_inline enum far_outcome outer_v4(struct packet *packet, struct bpf_fib_lookup *route)
{
	struct iphdr *ip = packet_at(packet, sizeof(struct ethhdr), sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return FAR_PASS_OTHER;
	packet->protocol = ip->protocol;
	packet->outer_ecn = ip->tos & 3;
	packet->inner = sizeof(struct ethhdr) + ip->ihl * 4;
	packet->end = sizeof(struct ethhdr) + bpf_ntohs(ip->tot_len);
	route->family = 2; /* AF_INET */
	route->ipv4_src = ip->saddr;
	route->ipv4_dst = ip->daddr;
	packet->payload = packet->inner;
	packet->cut = bpf_ntohs(ip->frag_off) & (IP_MF | IP_OFFSET);
	packet->whole = (struct piece_key){ip->saddr, ip->daddr, ip->id, ip->protocol};
	return packet->cut & IP_OFFSET ? FAR_PIECE : FAR_OUTCOMES;
}

static __always_inline enum far_outcome outer_v6(struct packet *packet, struct bpf_fib_lookup *route)
{
	struct ipv6hdr *ip = packet_at(packet, sizeof(struct ethhdr), sizeof(*ip));
	__u8 *options;

	if (!ip || ip->version != 6)
		return FAR_PASS_OTHER;
	packet->protocol = ip->nexthdr;
	packet->outer_ecn = ip->flow_lbl[0] >> 4 & 3;
	packet->inner = sizeof(struct ethhdr) + sizeof(*ip);
	packet->end = packet->inner + bpf_ntohs(ip->payload_len);
	route->family = 10; /* AF_INET6 */
	__builtin_memcpy(route->ipv6_src, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(route->ipv6_dst, &ip->daddr, sizeof(ip->daddr));
	if (packet->protocol == IPPROTO_DSTOPTS) { /* Linux's own tunnels send one: the encapsulation limit */
		options = packet_at(packet, packet->inner, 8);
		if (!options || options[1] > 7)
			return FAR_PASS_MALFORMED;
		packet->protocol = options[0];
		packet->inner += (options[1] & 7) * 8 + 8;
	}
	return packet->protocol == IPPROTO_FRAGMENT ? FAR_PASS_FRAGMENT : FAR_OUTCOMES;
}

/* GUE, variant 0 without options, or variant 1, which is the IP packet itself. */
static __always_inline enum far_outcome gue(struct packet *packet, const struct far_settings *settings)
{
	struct udphdr *udp = packet_at(packet, packet->inner, sizeof(*udp) + sizeof(struct gue_header));
	struct gue_header *gue = (void *)(udp + 1);
	__u8 variant;

	if (!udp || udp->dest != settings->gue_port)
		return FAR_PASS_OTHER;
	packet->kind = FAR_GUE;
	packet->inner += sizeof(*udp);
	variant = gue->variant_and_length >> 4;
	if (variant == 4 || variant == 6) {
		packet->protocol = variant == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
		return FAR_OUTCOMES;
	}
	if (gue->variant_and_length || gue->flags)
		return FAR_PASS_OPTION;
	packet->inner += sizeof(*gue);
	packet->protocol = gue->protocol;
	return FAR_OUTCOMES;
}

static __always_inline enum far_outcome gre(struct packet *packet)
{
	struct gre_header *gre = packet_at(packet, packet->inner, sizeof(*gre));

	if (!gre)
		return FAR_PASS_MALFORMED;
	if (gre->flags & ~bpf_htons(0x8000))
		return FAR_PASS_OPTION;
	packet->kind = FAR_GRE;
	packet->inner += gre->flags ? 8 : 4;
	packet->protocol = gre->protocol == bpf_htons(ETH_P_IP)     ? IPPROTO_IPIP
			   : gre->protocol == bpf_htons(ETH_P_IPV6) ? IPPROTO_IPV6
								    : IPPROTO_NONE;
	return packet->protocol == IPPROTO_NONE ? FAR_PASS_NOT_JOINED : FAR_OUTCOMES;
}

/* The header between the two IP headers, if there is one. */
static __always_inline enum far_outcome carried(struct packet *packet, const struct far_settings *settings)
{
	packet->kind = FAR_IPIP;
	if (packet->protocol == IPPROTO_UDP)
		return gue(packet, settings);
	if (packet->protocol == IPPROTO_GRE)
		return gre(packet);
	if (packet->protocol == IPPROTO_IPIP || packet->protocol == IPPROTO_IPV6)
		return FAR_OUTCOMES;
	return FAR_PASS_OTHER;
}

/* Congestion marked on the outer header (RFC 6040, section 4.2): `ecn` is the inner packet's, 0 cannot carry
 * it. */
static __always_inline enum far_outcome congestion(struct packet *packet, __u8 ecn)
{
	return packet->outer_ecn == 3 && !ecn ? FAR_DROP_ECN : packet->kind;
}

/* Whether both packets are all there, one within the other. */
static __always_inline int is_whole(struct packet *packet, __u32 length)
{
	return packet->inner + length <= packet->end && packet->end <= packet_length(packet);
}

/* Whether this piece has the inner packet's header and a part of what is behind it. One with options is not taken: not all
 * of them would belong into the other pieces. */
static __always_inline int is_first(struct packet *packet, const struct iphdr *ip)
{
	return packet->hook == HOOK_TC && ip->ihl == 5 && packet->inner + sizeof(*ip) + OFFSET_UNIT <= packet->end &&
	       packet->inner + bpf_ntohs(ip->tot_len) > packet->end && packet->end <= packet_length(packet) &&
	       !((packet->end - packet->payload) % OFFSET_UNIT);
}

static __always_inline enum far_outcome inner_v4(struct packet *packet)
{
	struct iphdr *ip = packet_at(packet, packet->inner, sizeof(*ip));
	struct addr vip;
	__u64 *count;
	__u32 check;

	if (!ip || ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) < ip->ihl * 4)
		return FAR_PASS_MALFORMED;
	if (packet->cut && !is_first(packet, ip))
		return FAR_PASS_FRAGMENT;
	if (!packet->cut && !is_whole(packet, bpf_ntohs(ip->tot_len)))
		return FAR_PASS_MALFORMED;
	addr_from_v4(&vip, ip->daddr);
	count = bpf_map_lookup_elem(&joined, &vip);
	if (!count)
		return FAR_PASS_NOT_JOINED;
	__sync_fetch_and_add(count, 1);
	packet->inner_version = 4;
	if (packet->outer_ecn == 3 && (ip->tos & 3) && (ip->tos & 3) != 3) {
		check = ip->check + bpf_htons(0xffff - (3 - (ip->tos & 3))); /* the sum grows by what is set */
		ip->check = check + (check >> 16);
		ip->tos |= 3;
		return packet->kind;
	}
	return congestion(packet, ip->tos & 3);
}

static __always_inline enum far_outcome inner_v6(struct packet *packet)
{
	struct ipv6hdr *ip = packet_at(packet, packet->inner, sizeof(*ip));
	struct addr vip;
	__u64 *count;
	__u8 ecn;

	if (!ip || ip->version != 6)
		return FAR_PASS_MALFORMED;
	if (packet->cut) /* IPVS cuts IPv4 only */
		return FAR_PASS_FRAGMENT;
	if (!is_whole(packet, bpf_ntohs(ip->payload_len) + sizeof(*ip)))
		return FAR_PASS_MALFORMED;
	__builtin_memcpy(&vip, &ip->daddr, sizeof(vip));
	count = bpf_map_lookup_elem(&joined, &vip);
	if (!count)
		return FAR_PASS_NOT_JOINED;
	__sync_fetch_and_add(count, 1);
	packet->inner_version = 6;
	ecn = ip->flow_lbl[0] >> 4 & 3;
	if (packet->outer_ecn == 3 && ecn)
		ip->flow_lbl[0] |= 0x30;
	return congestion(packet, ecn);
}

/* Whether the outer packet would be sent on: only a host that forwards has such an answer. */
static __always_inline int goes_on(struct packet *packet, struct bpf_fib_lookup *route)
{
	long found;

	if (packet->hook == HOOK_TC) {
		struct __sk_buff *skb = packet->ctx;

		if (skb->pkt_type) /* not PACKET_HOST */
			return 1;
		route->ifindex = skb->ingress_ifindex;
	} else {
		route->ifindex = ((struct xdp_md *)packet->ctx)->ingress_ifindex;
	}
	found = bpf_fib_lookup(packet->ctx, route, sizeof(*route), 0);
	return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH ||
	       found == BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

/* linux/bpf.h has these since 6.3; without them the kernel takes off headers of one family only. */
enum { DECAP_L3_IPV4 = 1 << 7, DECAP_L3_IPV6 = 1 << 8 };

/* FIXED_GSO: the segments' size is that of the inner packet's data, which does not change. */
static __always_inline long take_off_tc(struct packet *packet, __s32 room)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if (packet->inner_version != packet->outer_version)
		flags |= packet->inner_version == 4 ? DECAP_L3_IPV4 : DECAP_L3_IPV6;
	return bpf_skb_adjust_room(packet->ctx, -room, BPF_ADJ_ROOM_MAC, flags);
}

static __always_inline long take_off_xdp(struct packet *packet, __s32 room)
{
	struct ethhdr *old = packet_at(packet, 0, sizeof(*old)), *eth, copy;

	if (!old)
		return -1;
	copy = *old;
	if (bpf_xdp_adjust_head(packet->ctx, room))
		return -1;
	eth = packet_at(packet, 0, sizeof(*eth));
	if (!eth)
		return -1;
	*eth = copy;
	return 0;
}

static __always_inline enum far_outcome take_off(struct packet *packet)
{
	__s32 room = packet->inner - sizeof(struct ethhdr);
	struct ethhdr *eth;

	if (packet->hook == HOOK_TC ? take_off_tc(packet, room) : take_off_xdp(packet, room))
		return FAR_PASS_REFUSED;
	eth = packet_at(packet, 0, sizeof(*eth));
	if (eth)
		eth->h_proto = packet->inner_version == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	return packet->kind;
}

/* Gives a piece of the inner packet its header, which is a copy of the whole one's: `length` bytes follow on it, and `more`
 * other pieces. */
static __always_inline void cut_header(struct iphdr *ip, const struct piece *piece, __u32 length, int more)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

	ip->tot_len = bpf_htons(sizeof(*ip) + length);
	ip->frag_off = bpf_htons((bpf_ntohs(ip->frag_off) + piece->passed / OFFSET_UNIT) | (more ? IP_MF : 0));
	ip->check = 0;
	for (__u32 i = 0; i < sizeof(*ip) / sizeof(*word); i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
}

/* Keeps for the next piece what is left over of this one: the last bytes in front of `end`. */
static __always_inline int keep_over(struct packet *packet, struct piece *piece, __u32 left)
{
	piece->left = left;
	return left && bpf_skb_load_bytes(packet->ctx, packet->end - left, piece->over,
					  bounded_nonzero(sizeof(piece->over), left));
}

/* The first piece loses its outer headers like any packet, and becomes the first piece of the inner one. */
static __always_inline enum far_outcome first_piece(struct packet *packet)
{
	__u32 length = packet->end - packet->inner - sizeof(struct iphdr);
	struct iphdr *ip = packet_at(packet, packet->inner, sizeof(*ip));
	struct piece piece = {.next = packet->end - packet->payload};
	struct piece_key whole = packet->whole;
	enum far_outcome outcome;

	if (!ip || keep_over(packet, &piece, length % OFFSET_UNIT))
		return FAR_PASS_MALFORMED;
	piece.header = *ip;
	outcome = take_off(packet);
	ip = packet_at(packet, L3, sizeof(*ip));
	if (outcome != packet->kind || !ip)
		return FAR_PASS_REFUSED;
	length -= length % OFFSET_UNIT;
	cut_header(ip, &piece, length, 1);
	piece.passed = length;
	bpf_map_update_elem(&pieces, &whole, &piece, BPF_ANY);
	return FAR_PIECE;
}

/* Puts the inner header, and what was left over of the piece before, in the place of the outer header. */
static __always_inline long put_in_front(struct packet *packet, const struct iphdr *ip, const struct piece *piece)
{
	__u32 left = piece->left;

	if (left >= sizeof(piece->over))
		return -1;
	if (left && bpf_skb_adjust_room(packet->ctx, left, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	if (left && bpf_skb_store_bytes(packet->ctx, L3 + sizeof(*ip), piece->over,
					bounded_nonzero(sizeof(piece->over), left), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(packet->ctx, L3, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline enum far_outcome later_piece(struct packet *packet)
{
	struct piece_key whole = packet->whole;
	struct piece *piece = packet->hook == HOOK_TC ? bpf_map_lookup_elem(&pieces, &whole) : 0;
	__u32 offset = (packet->cut & IP_OFFSET) * OFFSET_UNIT, length = packet->end - packet->payload, all;
	int more = packet->cut & IP_MF;
	struct piece next;
	struct iphdr ip;

	if (!piece || offset != piece->next || packet->payload != L3 + sizeof(ip) || packet->end <= packet->payload ||
	    packet->end > packet_length(packet) || (more && length % OFFSET_UNIT))
		return FAR_PASS_FRAGMENT;
	all = piece->left + length;
	if (piece->passed + all > 0xffff - sizeof(ip))
		return FAR_PASS_MALFORMED;
	next = *piece;
	next.next += length;
	ip = piece->header;
	if (congestion(packet, ip.tos & 3) == FAR_DROP_ECN)
		return FAR_DROP_ECN;
	if (packet->outer_ecn == 3)
		ip.tos |= 3;
	if (keep_over(packet, &next, more ? all % OFFSET_UNIT : 0))
		return FAR_PASS_MALFORMED;
	all -= next.left;
	cut_header(&ip, piece, all, more);
	next.passed += all;
	if (put_in_front(packet, &ip, piece))
		return FAR_PASS_REFUSED;
	if (more)
		*piece = next;
	else
		bpf_map_delete_elem(&pieces, &whole);
	return FAR_PIECE;
}

static __always_inline enum far_outcome outer(struct packet *packet, struct bpf_fib_lookup *route)
{
	struct ethhdr *eth = packet_at(packet, 0, sizeof(*eth));

	if (!eth)
		return FAR_PASS_OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		packet->outer_version = 4;
		return outer_v4(packet, route);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		packet->outer_version = 6;
		return outer_v6(packet, route);
	}
	return FAR_PASS_OTHER;
}

/* A fragment is worth a name of its own only if it is a tunnel's. */
static __always_inline enum far_outcome only_tunnels(struct packet *packet, enum far_outcome outcome)
{
	if (outcome != FAR_PASS_FRAGMENT || packet->protocol == IPPROTO_IPIP || packet->protocol == IPPROTO_IPV6 ||
	    packet->protocol == IPPROTO_GRE)
		return outcome;
	return FAR_PASS_OTHER;
}

static __always_inline enum far_outcome unwrap(struct packet *packet)
{
	struct far_settings *settings;
	struct bpf_fib_lookup route;
	enum far_outcome outcome;
	__u32 zero = 0;

	settings = bpf_map_lookup_elem(&far_settings, &zero);
	if (!settings)
		return FAR_PASS_OTHER;
	__builtin_memset(&route, 0, sizeof(route));
	outcome = outer(packet, &route);
	if (outcome == FAR_PIECE)
		outcome = later_piece(packet);
	if (outcome != FAR_OUTCOMES)
		return only_tunnels(packet, outcome);
	outcome = carried(packet, settings);
	if (outcome != FAR_OUTCOMES)
		return outcome;
	if (packet->protocol != IPPROTO_IPIP && packet->protocol != IPPROTO_IPV6)
		return FAR_PASS_NOT_JOINED;
	if (goes_on(packet, &route))
		return FAR_PASS_NOT_HERE;
	outcome = packet->protocol == IPPROTO_IPIP ? inner_v4(packet) : inner_v6(packet);
	if (outcome != packet->kind)
		return outcome;
	return packet->hook == HOOK_TC && packet->cut ? first_piece(packet) : take_off(packet);
}

/* The one way out. */
static __always_inline int leave(struct packet *packet, enum far_outcome outcome)
{
	__u32 index = outcome;
	__u64 *count = bpf_map_lookup_elem(&far_outcomes, &index);

	if (count)
		(*count)++;
	if (outcome == FAR_DROP_ECN)
		return packet->hook == HOOK_XDP ? XDP_DROP : TC_ACT_SHOT;
	return packet->hook == HOOK_XDP ? XDP_PASS : TC_ACT_UNSPEC;
}

enum { HEADERS = 160 }; /* bytes that are looked at: Ethernet, IPv6 with options, UDP, GUE, IPv6 */

SEC("tc")
int far_end_tc(struct __sk_buff *skb)
{
	struct packet packet = {.ctx = skb, .hook = HOOK_TC};
	__u32 linear = skb->data_end - skb->data;

	if (linear < HEADERS && linear < skb->len)
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	return leave(&packet, unwrap(&packet));
}

SEC("xdp")
int far_end_xdp(struct xdp_md *ctx)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP};

	return leave(&packet, unwrap(&packet));
}

/* `pylvs realserver check`: a frame sent on lo with our mark arrives as if it had come by the interface. */
SEC("tc")
int inject(struct __sk_buff *skb)
{
	if (!inject_mark || skb->mark != inject_mark)
		return TC_ACT_UNSPEC;
	return bpf_redirect(inject_interface, BPF_F_INGRESS);
}
