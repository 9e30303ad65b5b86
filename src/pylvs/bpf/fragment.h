/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Fragments (RFC 791, section 3.2): those that come, and those that are made here of a packet that is too big for its way and
 * may be cut. These come in once more, in the place of the packet, and go the way of fragments. */
#ifndef PYLVS_FRAGMENT_H
#define PYLVS_FRAGMENT_H

#include "forward.h"

static __always_inline struct fragment_key *fragment_key_of(const struct flow *flow, __u32 id, struct scratch *scratch)
{
	struct fragment_key *key = &scratch->fragment_key;

	key->saddr = flow->saddr;
	key->daddr = flow->daddr;
	key->id = id;
	key->protocol = flow->protocol;
	return key;
}

/* A later fragment has no ports: it gets those of the first. What else the first left is on the scratch then. */
static __always_inline int fragment_ports(struct flow *flow)
{
	struct scratch *scratch = scratch_get();
	struct fragment_key *key;
	struct fragment *seen;

	if (!scratch)
		return -1;
	key = fragment_key_of(flow, flow->id, scratch);
	seen = bpf_map_lookup_elem(&fragments, key);
	if (flow->fragment == FRAGMENT_FIRST && !(seen && flow->flags & FLOW_COUNTED)) {
		__builtin_memset(&scratch->fragment, 0, sizeof(scratch->fragment));
		scratch->fragment.sport = flow->sport;
		scratch->fragment.dport = flow->dport;
		bpf_map_update_elem(&fragments, key, &scratch->fragment, BPF_ANY);
		return 0;
	}
	if (!seen)
		return -1;
	scratch->fragment = *seen;
	flow->sport = seen->sport;
	flow->dport = seen->dport;
	return 0;
}

/* Where a datagram that has no connection goes: one-packet scheduling, or no room in the table. Its fragments follow. */
__noinline int fragment_send(struct flow *flow, __u32 id, struct choice *choice)
{
	struct scratch *scratch = scratch_get();

	if (!flow || !choice || !scratch)
		return -1;
	scratch->fragment.sport = flow->sport;
	scratch->fragment.dport = flow->dport;
	scratch->fragment.rport = choice->rport;
	scratch->fragment.method = choice->method;
	scratch->fragment.stateless = choice->stateless;
	scratch->fragment.destination = choice->destination;
	return bpf_map_update_elem(&fragments, fragment_key_of(flow, id, scratch), &scratch->fragment, BPF_ANY);
}

/* Fills in the choice that was made for the first fragment, if there is no connection that would know. */
static __always_inline int fragment_follow(const struct flow *flow, struct choice *choice)
{
	struct scratch *scratch = flow->fragment != FRAGMENT_NONE ? scratch_get() : 0;

	if (!scratch || !scratch->fragment.destination)
		return 0;
	choice->destination = scratch->fragment.destination;
	choice->rport = scratch->fragment.rport;
	choice->method = scratch->fragment.method;
	choice->stateless = scratch->fragment.stateless;
	return 1;
}

/* In the tc_index of a piece, which was counted with the packet that it is of: goes the way of a fragment, or is of a packet
 * that has its tunnel's header already. */
enum { FRAG_INNER = 0xc07d, FRAG_OUTER = 0xc07e };

/* Sizes in bytes. PULLED: as much as leads beyond the place where a checksum is to begin, behind Ethernet's and IP's headers.
 * The kernel believes in no path's MTU below 552, of which a tunnel takes up to 52; and it leaves a frame what it takes for its
 * headers: Ethernet's, a tunnel's and IP's with options. */
enum {
	FRAGMENT_UNIT = 8,
	PULLED = 80,
	ADJUST_MAX = 4095,
	FRAGMENTED_MAX = 16384,
	MTU_MIN = 500,
	FRAME_MIN = 106,
	L4 = L3 + sizeof(struct iphdr)
};

/* What is behind the header of a packet; at any place in it begins a piece, which the verifier lets be as large as itself. */
struct payload {
	__u8 bytes[2 * FRAGMENTED_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct payload);
} payloads SEC(".maps");

/* Makes the packet longer or shorter right behind its IP header, which the kernel does by 4,095 bytes at most at a time. */
__noinline int make_longer(struct __sk_buff *skb, __s32 bytes, __u64 flags)
{
	for (int i = 0; i <= 65536 / ADJUST_MAX && bytes; i++) {
		__s32 step = bytes > ADJUST_MAX ? ADJUST_MAX : bytes < -ADJUST_MAX ? -ADJUST_MAX : bytes;

		if (bpf_skb_adjust_room(skb, step, BPF_ADJ_ROOM_NET, flags))
			return -1;
		bytes -= step;
	}
	return bytes;
}

/* A checksum that was left to a card, as packets from virtual devices have it, covers but the pseudo header. (A complete
 * one that looks like it stays what it is.) */
static __always_inline int fill_checksum(struct packet *packet)
{
	struct flow *flow = packet->flow;
	__u32 length = flow->length - (flow->l4 - L3), at = checksum_at(flow);
	__u16 *check = packet_at(packet, at, sizeof(*check));
	__u64 sum = sum_of_pseudo_header(&flow->saddr, &flow->daddr, flow->protocol, length);

	if (!check)
		return -1;
	if (!*check || *check != checksum_fold(sum))
		return 0;
	if (sum_all(packet, &sum)) /* the IP header sums up to nothing */
		return -1;
	check = packet_at(packet, at, sizeof(*check));
	if (!check)
		return -1;
	*check = (__u16)~checksum_fold(sum) ?: 0xffff;
	return 0;
}

/* The kernel forgets that it owes a checksum when what it was to begin with is taken off (skb_postpull_rcsum()). */
static __always_inline int clear_partial(struct packet *packet)
{
	struct __sk_buff *skb = packet->ctx;
	struct scratch *scratch = scratch_get();

	return !scratch || bpf_skb_load_bytes(skb, L4, scratch->piece, PULLED) ||
	       make_longer(skb, -PULLED, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	       make_longer(skb, PULLED, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	       bpf_skb_store_bytes(skb, L4, scratch->piece, PULLED, BPF_F_RECOMPUTE_CSUM);
}

/* Smaller segments: when the packet grows the kernel takes off their size what was added. */
static __always_inline enum outcome shrink_segments(struct packet *packet)
{
	struct flow *flow = packet->flow;
	__s32 excess = wire_length(packet) - flow->mtu;

	return make_longer(packet->ctx, excess, 0) || make_longer(packet->ctx, -excess, BPF_F_ADJ_ROOM_FIXED_GSO)
		       ? DROP_ERROR
		       : OUTCOMES;
}

/* Whether the tunnel's packet is cut and not the one in it, as IPVS does. */
static __always_inline int fragments_outer(const struct flow *flow, const struct choice *choice)
{
	struct destination *destination;

	if (!choice || choice->method != METHOD_TUN || flow->family != 4)
		return 0;
	destination = destination_get(choice->destination);
	return destination && destination->family == 4;
}

/* SCTP's checksum is over all the pieces: it must be there already, and stay as it is. */
static __always_inline int may_fragment_sctp(struct packet *packet, const struct choice *choice)
{
	struct sctp_header *sctp;

	if (packet->flow->fragment == FRAGMENT_LATER)
		return 1;
	sctp = packet_at(packet, packet->flow->l4, sizeof(*sctp));
	return sctp && sctp->checksum && choice && (choice->method == METHOD_DR || choice->method == METHOD_TUN);
}

/* What can be cut: IPv4 without DF, 16 KiB at most; not with options, of which not all would go into each piece; not
 * datagrams that the kernel carries as one, whose size tells where one ends. */
static __always_inline int may_fragment(struct packet *packet, const struct choice *choice)
{
	struct flow *flow = packet->flow;

	if (flow->family != 4 || flow->flags & (FLOW_DF | FLOW_ICMP_ERROR) || flow->mtu < MTU_MIN)
		return 0;
	if (skb_is_gso(packet))
		return flow->protocol == PROTO_TCP;
	if (flow->length > FRAGMENTED_MAX - MTU_MIN || (flow->l4 != L4 && !fragments_outer(flow, choice)))
		return 0;
	return flow->protocol != PROTO_SCTP || may_fragment_sctp(packet, choice);
}

/* A packet whose pieces are made of it, one after the other. (The verifier knows nothing of numbers on the scratch, and so does not
 * try them all.) */
struct fragmenting {
	struct __sk_buff *skb;
	struct payload *payload;
	struct fragmentation *cut;
};

/* Makes the packet its next piece. */
static __always_inline int make_fragment(struct fragmenting *fragmenting)
{
	struct packet packet = {.ctx = fragmenting->skb, .hook = HOOK_TC};
	struct fragmentation *cut = fragmenting->cut;
	__u32 left = cut->length - cut->at, at = bounded(cut->at, FRAGMENTED_MAX - 1);
	int more = left > cut->largest;
	__u32 size = bounded_nonzero(FRAGMENTED_MAX, more ? cut->largest : left);
	__be16 fragment = bpf_htons((cut->fragment + at / FRAGMENT_UNIT) | (more ? IP_MF : 0));
	__be16 length = bpf_htons(sizeof(struct iphdr) + size);
	__u32 frame = L4 + size;
	struct iphdr *ip;
	__u64 delta;

	if (bpf_skb_change_tail(fragmenting->skb, frame > FRAME_MIN ? frame : FRAME_MIN, 0) ||
	    bpf_skb_store_bytes(fragmenting->skb, L4, fragmenting->payload->bytes + at, size, BPF_F_RECOMPUTE_CSUM))
		return -1;
	ip = packet_at(&packet, L3, sizeof(*ip));
	if (!ip)
		return -1;
	delta = checksum_delta(ip->tot_len, length) + checksum_delta(ip->frag_off, fragment);
	ip->check = checksum_update(ip->check, delta);
	ip->tot_len = length;
	ip->frag_off = fragment;
	fragmenting->skb->tc_index = cut->mark;
	cut->at += size;
	return 0;
}

static __always_inline int is_last(const struct fragmentation *cut)
{
	return cut->length - cut->at <= cut->largest;
}

static long send_fragment(__u32 index, void *context)
{
	struct fragmenting *fragmenting = context;

	return is_last(fragmenting->cut) || make_fragment(fragmenting) ||
	       bpf_clone_redirect(fragmenting->skb, fragmenting->skb->ifindex, BPF_F_INGRESS);
}

/* Nothing is owed for the packet any more: it can be cut. */
static __always_inline int checksum_help(struct packet *packet)
{
	return has_checksum(packet->flow) && (fill_checksum(packet) || clear_partial(packet));
}

/* The pieces of the packet, an IP header and `length` bytes behind it, come in, in its place. */
static __always_inline enum outcome fragment_packet(struct packet *packet, __u32 length, __u32 mtu, __u32 mark)
{
	struct __sk_buff *skb = packet->ctx;
	struct fragmenting fragmenting = {.skb = skb};
	struct scratch *scratch = scratch_get();
	struct iphdr *ip;
	__u32 zero = 0;

	fragmenting.payload = bpf_map_lookup_elem(&payloads, &zero);
	if (!scratch || !fragmenting.payload || !length || length >= FRAGMENTED_MAX ||
	    bpf_skb_load_bytes(skb, L4, fragmenting.payload, bounded_nonzero(FRAGMENTED_MAX, length)))
		return DROP_ERROR;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return DROP_ERROR;
	fragmenting.cut = &scratch->cut;
	scratch->cut.at = 0;
	scratch->cut.length = length;
	scratch->cut.largest = (mtu - sizeof(*ip)) & ~(FRAGMENT_UNIT - 1);
	scratch->cut.fragment = bpf_ntohs(ip->frag_off);
	scratch->cut.mark = mark;
	bpf_loop(FRAGMENTED_MAX / MTU_MIN, send_fragment, &fragmenting, 0);
	if (!is_last(&scratch->cut) || make_fragment(&fragmenting))
		return DROP_ERROR;
	packet->flow->verdict = bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	return FORWARD_CUT;
}

/* They go where the packet was to: as its connection says, or the choice that was made for it. */
static __always_inline enum outcome fragment_inner(struct packet *packet, struct choice *choice)
{
	struct flow *flow = packet->flow;
	struct iphdr *ip;

	if (checksum_help(packet))
		return DROP_ERROR;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return DROP_ERROR;
	if (flow->fragment == FRAGMENT_NONE && choice && !choice->number && fragment_send(flow, ip->id, choice))
		return DROP_ERROR;
	return fragment_packet(packet, flow->length - sizeof(*ip), flow->mtu, FRAG_INNER);
}

/* A packet that is larger than `flow->mtu`, of a request with the choice that was made for it. FORWARD_CUT: its pieces come in,
 * in its place. OUTCOMES: it fits, or does so now, or will be cut in its tunnel's packet. Or it does not, and may not be cut. */
__noinline int fit_mtu_tc(struct __sk_buff *ctx, struct flow *flow, struct choice *choice)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	if (!flow)
		return DROP_ERROR;
	if (wire_length(&packet) <= flow->mtu)
		return OUTCOMES;
	if (!may_fragment(&packet, choice))
		return REFUSE_TOO_BIG;
	if (skb_is_gso(&packet))
		return shrink_segments(&packet);
	return fragments_outer(flow, choice) ? OUTCOMES : fragment_inner(&packet, choice);
}

#endif
