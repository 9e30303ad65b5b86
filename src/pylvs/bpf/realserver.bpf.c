// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The decapsulator: it ends tunnels on a real server whose kernel has no tunnel device.
 *
 * 1. outer() reads the outer IP header, carried() what is behind it: IPIP, GUE or GRE. What is no tunnel passes
 *    unchanged, and so does one to another host (goes_on()).
 * 2. inner_v4(), inner_v6(): is the inner packet whole, and for a VIP that was joined?
 * 3. take_off() removes the outer headers, and the packet goes on to the local stack. Outer checksums are not
 *    verified: the stack verifies those of the inner packet.
 * 4. A tunnel's packet that was fragmented on its path is not reassembled here: each fragment of it becomes a
 *    fragment of the inner packet, which the stack reassembles (first_fragment(), later_fragment()).
 * 5. Each packet is counted under one name, by leave(). */
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.h"
#include "hooks.h"
#include "protocols.h"
#include "tunnel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What became of a packet. `pylvs realserver status` prints the names. */
enum far_outcome {
	FAR_PASS_OTHER = 0,  /* not a tunnel */
	FAR_PASS_NOT_HERE,   /* a tunnel to another host */
	FAR_PASS_NOT_JOINED, /* carries a packet for an address that was not joined */
	FAR_PASS_FRAGMENT,   /* a fragment of a tunnel's packet without those before it, or at XDP */
	FAR_PASS_OPTION,     /* GRE with key or sequence, GUE with flags: nothing IPVS sends */
	FAR_PASS_MALFORMED,
	FAR_PASS_REFUSED, /* the kernel did not remove the outer header */
	FAR_IPIP,
	FAR_GUE,
	FAR_GRE,
	FAR_PIECE,    /* a fragment of a tunnel's packet */
	FAR_DROP_ECN, /* congestion experienced outside, and the inner packet cannot carry that: RFC 6040 drops it */
	FAR_OUTCOMES, /* how many there are; functions return it to say that none is decided yet */
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

/* Constants of `inject`, set before loading. */
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

/* A tunnel's packet that was fragmented. */
struct fragment_key {
	__be32 saddr;
	__be32 daddr;
	__be16 id;
	__be16 protocol;
};

/* What its later fragments need of those before. A fragment of the inner packet has to end after a multiple of 8
 * bytes: what is left over comes before the next one. */
struct fragment {
	struct iphdr header; /* the inner packet's */
	__u32 next;          /* bytes of the outer packet up to here */
	__u32 passed;        /* bytes behind the inner header that went to the stack */
	__u32 left;          /* bytes in `over` */
	__u8 over[FRAGMENT_UNIT];
};

/* Bounded: the least recently used are evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

enum { HEADERS_LIMIT = 512 }; /* offsets that are not constant are below this */

struct packet {
	void *ctx;
	enum hook hook;
	struct fragment_key whole; /* what this is a fragment of, if `frag_off` */
	__u16 frag_off;            /* MF and offset of the outer header, host order; 0: it is no fragment */
	__u32 payload;             /* where the outer IPv4 header ends */
	__u32 inner;               /* offset of the inner packet from the start of the frame */
	__u32 end;                 /* where the outer packet ends; what is behind is the frame's padding */
	__u8 protocol;             /* of what comes next: IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_UDP, IPPROTO_GRE */
	__u8 outer_version;        /* 4 or 6 */
	__u8 inner_version;
	__u8 outer_ecn;
	enum far_outcome kind;
};

/* `size` bytes of the packet at `offset`, or 0 if it has not so many there. */
static __always_inline void *packet_at(struct packet *packet, __u32 offset, __u32 size)
{
	return frame_at(packet->ctx, packet->hook, offset, size, HEADERS_LIMIT);
}

static __always_inline __u32 packet_length(struct packet *packet)
{
	if (packet->hook == HOOK_TC)
		return ((struct __sk_buff *)packet->ctx)->len;
	return (long)context_word(packet->ctx, struct xdp_md, data_end) -
	       (long)context_word(packet->ctx, struct xdp_md, data);
}

/* Reads the outer IPv4 header. FAR_OUTCOMES: go on; FAR_PIECE: it is a later fragment. */
static __always_inline enum far_outcome outer_v4(struct packet *packet, struct bpf_fib_lookup *route)
{
	struct iphdr *ip = packet_at(packet, sizeof(struct ethhdr), sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return FAR_PASS_OTHER;
	packet->protocol = ip->protocol;
	packet->outer_ecn = ip->tos & INET_ECN_MASK;
	packet->inner = sizeof(struct ethhdr) + ip->ihl * 4;
	packet->end = sizeof(struct ethhdr) + bpf_ntohs(ip->tot_len);
	route->family = AF_INET;
	route->ipv4_src = ip->saddr;
	route->ipv4_dst = ip->daddr;
	packet->payload = packet->inner;
	packet->frag_off = bpf_ntohs(ip->frag_off) & (IP_MF | IP_OFFSET);
	packet->whole = (struct fragment_key){ip->saddr, ip->daddr, ip->id, ip->protocol};
	return packet->frag_off & IP_OFFSET ? FAR_PIECE : FAR_OUTCOMES;
}

static __always_inline enum far_outcome outer_v6(struct packet *packet, struct bpf_fib_lookup *route)
{
	struct ipv6hdr *ip = packet_at(packet, sizeof(struct ethhdr), sizeof(*ip));
	__u8 *options;

	if (!ip || ip->version != 6)
		return FAR_PASS_OTHER;
	packet->protocol = ip->nexthdr;
	packet->outer_ecn = ip->flow_lbl[0] >> 4 & INET_ECN_MASK;
	packet->inner = sizeof(struct ethhdr) + sizeof(*ip);
	packet->end = packet->inner + bpf_ntohs(ip->payload_len);
	route->family = AF_INET6;
	__builtin_memcpy(route->ipv6_src, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(route->ipv6_dst, &ip->daddr, sizeof(ip->daddr));
	if (packet->protocol ==
	    IPPROTO_DSTOPTS) { /* Linux's own tunnels send one, the encapsulation limit (RFC 2473) */
		options = packet_at(packet, packet->inner, 8);
		if (!options || options[1] > 7)
			return FAR_PASS_MALFORMED;
		packet->protocol = options[0];
		packet->inner += (options[1] & 7) * 8 + 8;
	}
	return packet->protocol == IPPROTO_FRAGMENT ? FAR_PASS_FRAGMENT : FAR_OUTCOMES;
}

/* Reads GUE: variant 0 without options, or variant 1, which is the IP packet itself. */
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
	if (gre->flags & ~bpf_htons(GRE_CSUM))
		return FAR_PASS_OPTION;
	packet->kind = FAR_GRE;
	packet->inner += sizeof(*gre) + (gre->flags ? sizeof(struct gre_checksum) : 0);
	packet->protocol = gre->protocol == bpf_htons(ETH_P_IP)     ? IPPROTO_IPIP
			   : gre->protocol == bpf_htons(ETH_P_IPV6) ? IPPROTO_IPV6
								    : IPPROTO_NONE;
	return packet->protocol == IPPROTO_NONE ? FAR_PASS_NOT_JOINED : FAR_OUTCOMES;
}

/* Reads the header between the two IP headers, if there is one. */
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

/* What becomes of congestion experienced, marked on the outer header (RFC 6040, section 4.2). `ecn` is that of the
 * inner packet: Not-ECT cannot carry the mark. */
static __always_inline enum far_outcome congestion(struct packet *packet, __u8 ecn)
{
	return packet->outer_ecn == INET_ECN_CE && ecn == INET_ECN_NOT_ECT ? FAR_DROP_ECN : packet->kind;
}

/* Whether both packets are whole, one within the other. */
static __always_inline int is_whole(struct packet *packet, __u32 length)
{
	return packet->inner + length <= packet->end && packet->end <= packet_length(packet);
}

/* Whether this is a first fragment, with the inner packet's header and a part of what is behind it. One with options
 * is not taken: only some of them would belong into the later fragments. */
static __always_inline int is_first(struct packet *packet, const struct iphdr *ip)
{
	return packet->hook == HOOK_TC && ip->ihl == 5 && packet->inner + sizeof(*ip) + FRAGMENT_UNIT <= packet->end &&
	       packet->inner + bpf_ntohs(ip->tot_len) > packet->end && packet->end <= packet_length(packet) &&
	       !((packet->end - packet->payload) % FRAGMENT_UNIT);
}

static __always_inline enum far_outcome inner_v4(struct packet *packet)
{
	struct iphdr *ip = packet_at(packet, packet->inner, sizeof(*ip));
	struct addr vip;
	__u64 *count;
	__u32 check;
	__u8 ecn;

	if (!ip || ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) < ip->ihl * 4)
		return FAR_PASS_MALFORMED;
	if (packet->frag_off && !is_first(packet, ip))
		return FAR_PASS_FRAGMENT;
	if (!packet->frag_off && !is_whole(packet, bpf_ntohs(ip->tot_len)))
		return FAR_PASS_MALFORMED;
	addr_from_v4(&vip, ip->daddr);
	count = bpf_map_lookup_elem(&joined, &vip);
	if (!count)
		return FAR_PASS_NOT_JOINED;
	__sync_fetch_and_add(count, 1);
	packet->inner_version = 4;
	ecn = ip->tos & INET_ECN_MASK;
	if (packet->outer_ecn == INET_ECN_CE && ecn != INET_ECN_NOT_ECT && ecn != INET_ECN_CE) {
		check = ip->check + bpf_htons(0xffff - (INET_ECN_CE - ecn)); /* the sum grows by what is set */
		ip->check = check + (check >> 16);
		ip->tos |= INET_ECN_CE;
		return packet->kind;
	}
	return congestion(packet, ecn);
}

static __always_inline enum far_outcome inner_v6(struct packet *packet)
{
	struct ipv6hdr *ip = packet_at(packet, packet->inner, sizeof(*ip));
	struct addr vip;
	__u64 *count;
	__u8 ecn;

	if (!ip || ip->version != 6)
		return FAR_PASS_MALFORMED;
	if (packet->frag_off) /* a sender of IPv6 fragments itself; IPVS does so for IPv4 only */
		return FAR_PASS_FRAGMENT;
	if (!is_whole(packet, bpf_ntohs(ip->payload_len) + sizeof(*ip)))
		return FAR_PASS_MALFORMED;
	__builtin_memcpy(&vip, &ip->daddr, sizeof(vip));
	count = bpf_map_lookup_elem(&joined, &vip);
	if (!count)
		return FAR_PASS_NOT_JOINED;
	__sync_fetch_and_add(count, 1);
	packet->inner_version = 6;
	ecn = ip->flow_lbl[0] >> 4 & INET_ECN_MASK;
	if (packet->outer_ecn == INET_ECN_CE && ecn != INET_ECN_NOT_ECT)
		ip->flow_lbl[0] |= INET_ECN_CE << 4;
	return congestion(packet, ecn);
}

/* Whether the outer packet would be forwarded; only a host that forwards finds a route for it. */
static __always_inline int goes_on(struct packet *packet, struct bpf_fib_lookup *route)
{
	long found;

	if (packet->hook == HOOK_TC) {
		struct __sk_buff *skb = packet->ctx;

		if (skb->pkt_type != PACKET_HOST)
			return 1;
		route->ifindex = skb->ingress_ifindex;
	} else {
		route->ifindex = ((struct xdp_md *)packet->ctx)->ingress_ifindex;
	}
	found = bpf_fib_lookup(packet->ctx, route, sizeof(*route), 0);
	return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH ||
	       found == BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

/* BPF_F_ADJ_ROOM_DECAP_L3_IPV4 and _IPV6 (Linux 6.3): without them the kernel removes headers of the inner packet's
 * own family only. */
enum { DECAP_L3_IPV4 = 1 << 7, DECAP_L3_IPV6 = 1 << 8 };

/* Removes the outer headers. With FIXED_GSO segments keep their size, which is that of the inner packet's data. */
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

/* Makes a copy of the inner packet's header that of one of its fragments, of `length` bytes behind it. `more`: others
 * follow. */
static __always_inline void fragment_header(struct iphdr *ip, const struct fragment *fragment, __u32 length, int more)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

	ip->tot_len = bpf_htons(sizeof(*ip) + length);
	ip->frag_off = bpf_htons((bpf_ntohs(ip->frag_off) + fragment->passed / FRAGMENT_UNIT) | (more ? IP_MF : 0));
	ip->check = 0;
	for (__u32 i = 0; i < sizeof(*ip) / sizeof(*word); i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
}

/* Keeps what is left over of this fragment for the next one: the last bytes in front of `end`. */
static __always_inline int keep_over(struct packet *packet, struct fragment *fragment, __u32 left)
{
	fragment->left = left;
	return left && bpf_skb_load_bytes(packet->ctx, packet->end - left, fragment->over,
					  bounded_nonzero(sizeof(fragment->over), left));
}

/* Decapsulates the first fragment like any packet; it becomes the first fragment of the inner one. */
static __always_inline enum far_outcome first_fragment(struct packet *packet)
{
	__u32 length = packet->end - packet->inner - sizeof(struct iphdr);
	struct iphdr *ip = packet_at(packet, packet->inner, sizeof(*ip));
	struct fragment fragment = {.next = packet->end - packet->payload};
	struct fragment_key whole = packet->whole;
	enum far_outcome outcome;

	if (!ip || keep_over(packet, &fragment, length % FRAGMENT_UNIT))
		return FAR_PASS_MALFORMED;
	fragment.header = *ip;
	outcome = take_off(packet);
	if (outcome != packet->kind)
		return FAR_PASS_REFUSED;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return FAR_PASS_REFUSED;
	length -= length % FRAGMENT_UNIT;
	fragment_header(ip, &fragment, length, 1);
	fragment.passed = length;
	bpf_map_update_elem(&fragments, &whole, &fragment, BPF_ANY);
	return FAR_PIECE;
}

/* Replaces the outer header by the inner one, and what was left over of the fragment before. */
static __always_inline long put_in_front(struct packet *packet, const struct iphdr *ip, const struct fragment *fragment)
{
	__u32 left = fragment->left;

	if (left >= sizeof(fragment->over))
		return -1;
	if (left && bpf_skb_adjust_room(packet->ctx, left, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	if (left && bpf_skb_store_bytes(packet->ctx, L3 + sizeof(*ip), fragment->over,
					bounded_nonzero(sizeof(fragment->over), left), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(packet->ctx, L3, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline enum far_outcome later_fragment(struct packet *packet)
{
	struct fragment_key whole = packet->whole;
	struct fragment *fragment = packet->hook == HOOK_TC ? bpf_map_lookup_elem(&fragments, &whole) : 0;
	__u32 offset = (packet->frag_off & IP_OFFSET) * FRAGMENT_UNIT, length = packet->end - packet->payload, all;
	int more = packet->frag_off & IP_MF;
	struct fragment next;
	struct iphdr ip;

	if (!fragment || offset != fragment->next || packet->payload != L3 + sizeof(ip) ||
	    packet->end <= packet->payload || packet->end > packet_length(packet) || (more && length % FRAGMENT_UNIT))
		return FAR_PASS_FRAGMENT;
	all = fragment->left + length;
	if (fragment->passed + all > IP_LENGTH_MAX - sizeof(ip))
		return FAR_PASS_MALFORMED;
	next = *fragment;
	next.next += length;
	ip = fragment->header;
	if (congestion(packet, ip.tos & INET_ECN_MASK) == FAR_DROP_ECN)
		return FAR_DROP_ECN;
	if (packet->outer_ecn == INET_ECN_CE)
		ip.tos |= INET_ECN_CE;
	if (keep_over(packet, &next, more ? all % FRAGMENT_UNIT : 0))
		return FAR_PASS_MALFORMED;
	all -= next.left;
	fragment_header(&ip, fragment, all, more);
	next.passed += all;
	if (put_in_front(packet, &ip, fragment))
		return FAR_PASS_REFUSED;
	if (more)
		*fragment = next;
	else
		bpf_map_delete_elem(&fragments, &whole);
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

/* A fragment has an outcome of its own only if it is a tunnel's. */
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
		outcome = later_fragment(packet);
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
	return packet->hook == HOOK_TC && packet->frag_off ? first_fragment(packet) : take_off(packet);
}

/* The one exit: the verdict of the outcome, which is counted. */
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

enum { HEADERS = 160 }; /* bytes that are read: Ethernet, IPv6 with options, UDP, GUE, IPv6 */

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

/* `pylvs realserver check`: a frame that is sent on lo with our mark is received as if it had come by the interface. */
SEC("tc")
int inject(struct __sk_buff *skb)
{
	if (!inject_mark || skb->mark != inject_mark)
		return TC_ACT_UNSPEC;
	return bpf_redirect(inject_interface, BPF_F_INGRESS);
}
