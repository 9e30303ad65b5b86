/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Fragments (RFC 791, section 3.2): those that come, and those that are made here of a packet that is too big for its way and
 * may be cut. These come in once more, in the place of the packet, and go the way of fragments. */
#ifndef PYLVS_FRAGMENT_H
#define PYLVS_FRAGMENT_H

#include "forward.h"

inline_always struct fragment_key *fragment_key_of(const struct flow *flow, __u32 id, struct desk *desk)
{
	struct fragment_key *key = &desk->fragment_key;

	key->saddr = flow->saddr;
	key->daddr = flow->daddr;
	key->id = id;
	key->protocol = flow->protocol;
	return key;
}

/* A later fragment has no ports: it gets those of the first. What else the first left is on the desk then. */
inline_always int fragment_ports(struct flow *flow)
{
	struct desk *desk = desk_get();
	struct fragment_key *key;
	struct fragment *seen;

	if (!desk)
		return -1;
	key = fragment_key_of(flow, flow->id, desk);
	seen = bpf_map_lookup_elem(&fragments, key);
	if (flow->fragment == FRAGMENT_FIRST && !(seen && flow->flags & FLOW_COUNTED)) {
		__builtin_memset(&desk->fragment, 0, sizeof(desk->fragment));
		desk->fragment.sport = flow->sport;
		desk->fragment.dport = flow->dport;
		bpf_map_update_elem(&fragments, key, &desk->fragment, BPF_ANY);
		return 0;
	}
	if (!seen)
		return -1;
	desk->fragment = *seen;
	flow->sport = seen->sport;
	flow->dport = seen->dport;
	return 0;
}

/* Where a datagram that has no connection goes: one-packet scheduling, or no room in the table. Its fragments follow. */
__attribute__((noinline)) int fragment_send(struct flow *flow, __u32 id, struct choice *choice)
{
	struct desk *desk = desk_get();

	if (!flow || !choice || !desk)
		return -1;
	desk->fragment.sport = flow->sport;
	desk->fragment.dport = flow->dport;
	desk->fragment.rport = choice->rport;
	desk->fragment.method = choice->method;
	desk->fragment.stateless = choice->stateless;
	desk->fragment.destination = choice->destination;
	return bpf_map_update_elem(&fragments, fragment_key_of(flow, id, desk), &desk->fragment, BPF_ANY);
}

/* Fills in the choice that was made for the first fragment, if there is no connection that would know. */
inline_always int fragment_follow(const struct flow *flow, struct choice *choice)
{
	struct desk *desk = flow->fragment != FRAGMENT_NONE ? desk_get() : 0;

	if (!desk || !desk->fragment.destination)
		return 0;
	choice->destination = desk->fragment.destination;
	choice->rport = desk->fragment.rport;
	choice->method = desk->fragment.method;
	choice->stateless = desk->fragment.stateless;
	return 1;
}

/* In the tc_index of a piece, which was counted with the packet that it is of: goes the way of a fragment, or is of a packet
 * that has its tunnel's header already. */
enum { PIECE_INSIDE = 0xc07d, PIECE_OUTSIDE = 0xc07e };

/* Sizes in bytes. FORGET: as much as leads beyond the place where a checksum is to begin, behind Ethernet's and IP's headers.
 * The kernel believes in no path's MTU below 552, of which a tunnel takes up to 52; and it leaves a frame what it takes for its
 * headers: Ethernet's, a tunnel's and IP's with options. */
enum {
	UNIT = 8,
	FORGET = 80,
	STEP = 4095,
	LARGEST = 16384,
	MTU_LEAST = 500,
	FRAME_LEAST = 106,
	L4 = L3 + sizeof(struct iphdr)
};

/* What is behind the header of a packet; at any place in it begins a piece, which the verifier lets be as large as itself. */
struct payload {
	__u8 bytes[2 * LARGEST];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct payload);
} payloads SEC(".maps");

/* Makes the packet longer or shorter right behind its IP header, which the kernel does by 4,095 bytes at most at a time. */
__attribute__((noinline)) int make_longer(struct __sk_buff *skb, __s32 bytes, __u64 flags)
{
	for (int i = 0; i <= 65536 / STEP && bytes; i++) {
		__s32 step = bytes > STEP ? STEP : bytes < -STEP ? -STEP : bytes;

		if (bpf_skb_adjust_room(skb, step, BPF_ADJ_ROOM_NET, flags))
			return -1;
		bytes -= step;
	}
	return bytes;
}

/* A checksum that was left to a card, as packets from virtual devices have it, covers but the pseudo header. (A complete
 * one that looks like it stays what it is.) */
inline_always int complete_checksum(struct packet *packet)
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
inline_always int forget_checksum(struct packet *packet)
{
	struct __sk_buff *skb = packet->ctx;
	struct desk *desk = desk_get();

	return !desk || bpf_skb_load_bytes(skb, L4, desk->piece, FORGET) ||
	       make_longer(skb, -FORGET, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	       make_longer(skb, FORGET, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	       bpf_skb_store_bytes(skb, L4, desk->piece, FORGET, BPF_F_RECOMPUTE_CSUM);
}

/* Smaller segments: when the packet grows the kernel takes off their size what was added. */
inline_always enum outcome cut_segments(struct packet *packet)
{
	struct flow *flow = packet->flow;
	__s32 excess = wire_length(packet) - flow->mtu;

	return make_longer(packet->ctx, excess, 0) || make_longer(packet->ctx, -excess, BPF_F_ADJ_ROOM_FIXED_GSO)
		       ? DROP_ERROR
		       : OUTCOMES;
}

/* Whether the tunnel's packet is cut and not the one in it, as IPVS does. */
inline_always int is_cut_outside(const struct flow *flow, const struct choice *choice)
{
	struct destination *destination;

	if (!choice || choice->method != METHOD_TUN || flow->family != 4)
		return 0;
	destination = destination_get(choice->destination);
	return destination && destination->family == 4;
}

/* SCTP's checksum is over all the pieces: it must be there already, and stay as it is. */
inline_always int may_cut_sctp(struct packet *packet, const struct choice *choice)
{
	struct sctp_header *sctp;

	if (packet->flow->fragment == FRAGMENT_LATER)
		return 1;
	sctp = packet_at(packet, packet->flow->l4, sizeof(*sctp));
	return sctp && sctp->checksum && choice && (choice->method == METHOD_DR || choice->method == METHOD_TUN);
}

/* What can be cut: IPv4 without DF, 16 KiB at most; not with options, of which not all would go into each piece; not
 * datagrams that the kernel carries as one, whose size tells where one ends. */
inline_always int may_cut(struct packet *packet, const struct choice *choice)
{
	struct flow *flow = packet->flow;

	if (flow->family != 4 || flow->flags & (FLOW_DF | FLOW_ICMP_ERROR) || flow->mtu < MTU_LEAST)
		return 0;
	if (is_many(packet))
		return flow->protocol == PROTO_TCP;
	if (flow->length > LARGEST - MTU_LEAST || (flow->l4 != L4 && !is_cut_outside(flow, choice)))
		return 0;
	return flow->protocol != PROTO_SCTP || may_cut_sctp(packet, choice);
}

/* A packet whose pieces are made of it, one after the other. (The verifier knows nothing of numbers on the desk, and so does not
 * try them all.) */
struct cutting {
	struct __sk_buff *skb;
	struct payload *payload;
	struct cut *cut;
};

/* Makes the packet its next piece. */
inline_always int make_piece(struct cutting *cutting)
{
	struct packet packet = {.ctx = cutting->skb, .hook = HOOK_TC};
	struct cut *cut = cutting->cut;
	__u32 left = cut->length - cut->at, at = bounded(cut->at, LARGEST - 1);
	int more = left > cut->largest;
	__u32 size = one_to(LARGEST, more ? cut->largest : left);
	__be16 fragment = bpf_htons((cut->fragment + at / UNIT) | (more ? IP_MF : 0));
	__be16 length = bpf_htons(sizeof(struct iphdr) + size);
	__u32 frame = L4 + size;
	struct iphdr *ip;
	__u64 delta;

	if (bpf_skb_change_tail(cutting->skb, frame > FRAME_LEAST ? frame : FRAME_LEAST, 0) ||
	    bpf_skb_store_bytes(cutting->skb, L4, cutting->payload->bytes + at, size, BPF_F_RECOMPUTE_CSUM))
		return -1;
	ip = packet_at(&packet, L3, sizeof(*ip));
	if (!ip)
		return -1;
	delta = checksum_delta(ip->tot_len, length) + checksum_delta(ip->frag_off, fragment);
	ip->check = checksum_update(ip->check, delta);
	ip->tot_len = length;
	ip->frag_off = fragment;
	cutting->skb->tc_index = cut->mark;
	cut->at += size;
	return 0;
}

inline_always int is_last(const struct cut *cut)
{
	return cut->length - cut->at <= cut->largest;
}

static long send_piece(__u32 index, void *context)
{
	struct cutting *cutting = context;

	return is_last(cutting->cut) || make_piece(cutting) ||
	       bpf_clone_redirect(cutting->skb, cutting->skb->ifindex, BPF_F_INGRESS);
}

/* Nothing is owed for the packet any more: it can be cut. */
inline_always int settle_checksum(struct packet *packet)
{
	return has_checksum(packet->flow) && (complete_checksum(packet) || forget_checksum(packet));
}

/* The pieces of the packet, an IP header and `length` bytes behind it, come in, in its place. */
inline_always enum outcome cut_up(struct packet *packet, __u32 length, __u32 mtu, __u32 mark)
{
	struct __sk_buff *skb = packet->ctx;
	struct cutting cutting = {.skb = skb};
	struct desk *desk = desk_get();
	struct iphdr *ip;
	__u32 zero = 0;

	cutting.payload = bpf_map_lookup_elem(&payloads, &zero);
	if (!desk || !cutting.payload || !length || length >= LARGEST ||
	    bpf_skb_load_bytes(skb, L4, cutting.payload, one_to(LARGEST, length)))
		return DROP_ERROR;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return DROP_ERROR;
	cutting.cut = &desk->cut;
	desk->cut.at = 0;
	desk->cut.length = length;
	desk->cut.largest = (mtu - sizeof(*ip)) & ~(UNIT - 1);
	desk->cut.fragment = bpf_ntohs(ip->frag_off);
	desk->cut.mark = mark;
	bpf_loop(LARGEST / MTU_LEAST, send_piece, &cutting, 0);
	if (!is_last(&desk->cut) || make_piece(&cutting))
		return DROP_ERROR;
	packet->flow->verdict = bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	return FORWARD_CUT;
}

/* They go where the packet was to: as its connection says, or the choice that was made for it. */
inline_always enum outcome cut_inside(struct packet *packet, struct choice *choice)
{
	struct flow *flow = packet->flow;
	struct iphdr *ip;

	if (settle_checksum(packet))
		return DROP_ERROR;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return DROP_ERROR;
	if (flow->fragment == FRAGMENT_NONE && choice && !choice->number && fragment_send(flow, ip->id, choice))
		return DROP_ERROR;
	return cut_up(packet, flow->length - sizeof(*ip), flow->mtu, PIECE_INSIDE);
}

/* A packet that is larger than `flow->mtu`, of a request with the choice that was made for it. FORWARD_CUT: its pieces come in,
 * in its place. OUTCOMES: it fits, or does so now, or will be cut in its tunnel's packet. Or it does not, and may not be cut. */
__attribute__((noinline)) int fit_tc(struct __sk_buff *ctx, struct flow *flow, struct choice *choice)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	if (!flow)
		return DROP_ERROR;
	if (wire_length(&packet) <= flow->mtu)
		return OUTCOMES;
	if (!may_cut(&packet, choice))
		return REFUSE_TOO_BIG;
	if (is_many(&packet))
		return cut_segments(&packet);
	return is_cut_outside(flow, choice) ? OUTCOMES : cut_inside(&packet, choice);
}

#endif
