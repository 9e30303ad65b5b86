/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Fragments (RFC 791, section 3.2): those that are received, and those that are made here (docs/decisions/0006).
 *
 * Received: the first fragment decides, as any packet, and leaves its ports for the later ones; without a connection
 * it leaves its choice as well. A later fragment goes by what the first left, and is dropped if that is missing.
 *
 * Made here, at TC, of a packet that exceeds the path MTU and may be fragmented: each fragment comes in again by
 * bpf_clone_redirect(), and takes the place of the packet as any received one does. A mark in tc_index says that it
 * was counted already. A packet in a tunnel is fragmented outside: its fragments have the tunnel's header already, and
 * only need a next hop. A GSO packet is not fragmented: its segments are made smaller. */
#ifndef PYLVS_FRAGMENT_H
#define PYLVS_FRAGMENT_H

#include "forward.h"

struct fragment_key {
	__u64 hash; /* of what follows */
	struct addr saddr;
	struct addr daddr;
	__u32 id;
	__u32 protocol;
};

/* What a first fragment leaves. */
struct fragment {
	__be16 sport;
	__be16 dport;
	__be16 rport; /* this and what follows is its choice, if no connection was entered */
	__u8 method;
	__u8 stateless;
	__u32 destination; /* slot, 0: there is a connection */
	__u32 tick;        /* when it was chosen: see is_recent() */
};

/* Bounded: the least recently used are evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

/* How far the making of fragments has come. In bytes behind the IP header. */
struct fragmentation {
	__u32 at; /* so many are in fragments already */
	__u32 length;
	__u32 largest;  /* of a fragment */
	__u32 frag_off; /* the packet's own offset and flags */
	__u32 mark;     /* of the fragments: FRAG_INNER or FRAG_OUTER */
};

struct fragment_scratch {
	struct fragment_key key;
	struct fragment first; /* what the first fragment left */
	struct flow outer;     /* of a tunnel's packet */
	struct fragmentation progress;
};
PER_CPU_SCRATCH(fragment_scratch)

static __always_inline struct fragment_key *fragment_key_of(const struct flow *flow, __u32 id,
							    struct fragment_scratch *scratch)
{
	struct fragment_key *key = &scratch->key;

	key->saddr = flow->saddr;
	key->daddr = flow->daddr;
	key->id = id;
	key->protocol = flow->protocol;
	key->hash = hash_tuple(&key->saddr, &key->daddr, (__u64)key->protocol << 32 | id);
	return key;
}

/* Gives a later fragment, which has no ports, those of the first. What else the first left goes to scratch space, for
 * fragment_follow(). */
static __always_inline int fragment_ports(struct flow *flow)
{
	struct fragment_scratch *scratch = fragment_scratch_get();
	struct fragment_key *key;
	struct fragment *seen;

	if (!scratch)
		return -1;
	key = fragment_key_of(flow, flow->id, scratch);
	seen = bpf_map_lookup_elem(&fragments, key);
	if (flow->fragment == FRAGMENT_FIRST && !(seen && (flow->flags & FLOW_COUNTED))) {
		__builtin_memset(&scratch->first, 0, sizeof(scratch->first));
		scratch->first.sport = flow->sport;
		scratch->first.dport = flow->dport;
		bpf_map_update_elem(&fragments, key, &scratch->first, BPF_ANY);
		return 0;
	}
	if (!seen)
		return -1;
	scratch->first = *seen;
	flow->sport = seen->sport;
	flow->dport = seen->dport;
	return 0;
}

/* Remembers the choice for a datagram without a connection (one-packet scheduling, or no room in the table), so that
 * its later fragments follow. */
__noinline int fragment_remember(struct flow *flow, __u32 id, struct choice *choice)
{
	struct fragment_scratch *scratch = fragment_scratch_get();

	if (!flow || !choice || !scratch)
		return -1;
	scratch->first.sport = flow->sport;
	scratch->first.dport = flow->dport;
	scratch->first.rport = choice->rport;
	scratch->first.method = choice->method;
	scratch->first.stateless = choice->stateless;
	scratch->first.destination = choice->destination;
	scratch->first.tick = now_ticks(); /* a flow made here for a tunnel has no time */
	return bpf_map_update_elem(&fragments, fragment_key_of(flow, id, scratch), &scratch->first, BPF_ANY);
}

/* Whether a choice may still be followed. The record of a deleted destination is another one's after a second
 * (table/trash.py), and nothing pins it here as connections do: so it is followed for half of that. */
static __always_inline int is_recent(__u32 tick, __u32 now)
{
	return now - tick <= settings.second / 2;
}

/* Fills in the choice that was made for the first fragment, after fragment_ports(), if one was remembered. */
static __always_inline int fragment_follow(const struct flow *flow, struct choice *choice)
{
	struct fragment_scratch *scratch = flow->fragment != FRAGMENT_NONE ? fragment_scratch_get() : 0;

	if (!scratch || !scratch->first.destination || !is_recent(scratch->first.tick, flow->now))
		return 0;
	choice->destination = scratch->first.destination;
	choice->rport = scratch->first.rport;
	choice->method = scratch->first.method;
	choice->stateless = scratch->first.stateless;
	return 1;
}

/* The tc_index of a fragment made here, whose packet was counted already: of a packet that is still to be forwarded,
 * or of one that has its tunnel's header. */
enum { FRAG_INNER = 0xc07d, FRAG_OUTER = 0xc07e };

/* Sizes in bytes. The kernel believes in no path MTU below 552, of which a tunnel takes up to 52. */
enum {
	PULLED = 80,            /* beyond where any checksum starts, behind Ethernet's and IP's headers */
	ADJUST_MAX = 4095,      /* of bpf_skb_adjust_room() at a time */
	FRAGMENTED_MAX = 16384, /* the largest packet that is fragmented */
	MTU_MIN = 500,
	FRAME_MIN = 106, /* of bpf_skb_change_tail(): Ethernet's, a tunnel's and IP's headers with options */
	L4 = L3 + sizeof(struct iphdr)
};

/* A copy of what is behind the IP header, of which fragments are made. It is twice as long as it can be filled: the
 * verifier knows of the offset and of the size of a fragment only that each is below FRAGMENTED_MAX. */
struct payload_scratch {
	__u8 bytes[2 * FRAGMENTED_MAX];
};
PER_CPU_SCRATCH(payload_scratch)

/* Makes the packet longer or, with a negative number, shorter right behind its IP header; the kernel does so by 4,095
 * bytes at most at a time. */
__noinline int adjust_room(struct __sk_buff *skb, __s32 bytes, __u64 flags)
{
	for (int i = 0; i <= (IP_LENGTH_MAX + 1) / ADJUST_MAX && bytes; i++) {
		__s32 step = bytes > ADJUST_MAX ? ADJUST_MAX : bytes < -ADJUST_MAX ? -ADJUST_MAX : bytes;

		if (bpf_skb_adjust_room(skb, step, BPF_ADJ_ROOM_NET, flags))
			return -1;
		bytes -= step;
	}
	return bytes;
}

/* Computes a checksum that was offloaded to the NIC, which packets from virtual devices have: it then covers the
 * pseudo header only. (A complete one that happens to look like that stays what it is.) */
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
	if (sum_all(packet, &sum)) /* the IP header sums up to zero */
		return -1;
	check = packet_at(packet, at, sizeof(*check));
	if (!check)
		return -1;
	*check = (__u16)~checksum_fold(sum) ?: 0xffff;
	return 0;
}

/* Clears CHECKSUM_PARTIAL. The kernel does so when the bytes where the sum was to start are removed
 * (skb_postpull_rcsum()); so they are removed, and put back. */
static __always_inline int clear_partial(struct packet *packet)
{
	struct __sk_buff *skb = packet->ctx;
	struct copy_scratch *copy = copy_scratch_get();

	return !copy || bpf_skb_load_bytes(skb, L4, copy->bytes, PULLED) ||
	       adjust_room(skb, -PULLED, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	       adjust_room(skb, PULLED, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	       bpf_skb_store_bytes(skb, L4, copy->bytes, PULLED, BPF_F_RECOMPUTE_CSUM);
}

/* Reduces the segment size of a GSO packet: when a packet grows, the kernel takes what was added off its gso_size. */
static __always_inline enum outcome shrink_segments(struct packet *packet)
{
	struct flow *flow = packet->flow;
	__s32 excess = wire_length(packet) - flow->mtu;

	return adjust_room(packet->ctx, excess, 0) || adjust_room(packet->ctx, -excess, BPF_F_ADJ_ROOM_FIXED_GSO)
		       ? DROP_ERROR
		       : OUTCOMES;
}

/* Whether the tunnel's packet is fragmented and not the one in it, as IPVS does it. */
static __always_inline int fragments_outer(const struct flow *flow, const struct choice *choice)
{
	struct destination *destination;

	if (!choice || choice->method != METHOD_TUN || flow->family != 4)
		return 0;
	destination = destination_get(choice->destination);
	return destination && destination->family == 4;
}

/* SCTP's checksum is over the whole packet: it must be there already, and must not change. */
static __always_inline int may_fragment_sctp(struct packet *packet, const struct choice *choice)
{
	struct sctp_header *sctp;

	if (packet->flow->fragment == FRAGMENT_LATER)
		return 1;
	sctp = packet_at(packet, packet->flow->l4, sizeof(*sctp));
	return sctp && sctp->checksum && choice && (choice->method == METHOD_DR || choice->method == METHOD_TUN);
}

/* Whether the packet may be fragmented: IPv4 without DF, 16 KiB at most; not with options, of which only some go into
 * every fragment (RFC 791); not a GSO packet of UDP, whose datagrams must keep their size. */
static __always_inline int may_fragment(struct packet *packet, const struct choice *choice)
{
	struct flow *flow = packet->flow;

	if (flow->family != 4 || (flow->flags & (FLOW_DF | FLOW_ICMP_ERROR)) || flow->mtu < MTU_MIN)
		return 0;
	if (skb_is_gso(packet))
		return flow->protocol == PROTO_TCP;
	if (flow->length > FRAGMENTED_MAX - MTU_MIN || (flow->l4 != L4 && !fragments_outer(flow, choice)))
		return 0;
	return flow->protocol != PROTO_SCTP || may_fragment_sctp(packet, choice);
}

/* A packet of which fragments are made, one after the other. How far that has come is in scratch space: the verifier
 * would follow the values of numbers on the stack, and walk each step of the loop. */
struct fragmenting {
	struct __sk_buff *skb;
	struct payload_scratch *payload;
	struct fragmentation *progress;
};

/* Makes the packet its next fragment. */
static __always_inline int make_fragment(struct fragmenting *fragmenting)
{
	struct packet packet = {.ctx = fragmenting->skb, .hook = HOOK_TC};
	struct fragmentation *progress = fragmenting->progress;
	__u32 left = progress->length - progress->at, at = bounded(progress->at, FRAGMENTED_MAX - 1);
	int more = left > progress->largest;
	__u32 size = bounded_nonzero(FRAGMENTED_MAX, more ? progress->largest : left);
	__be16 fragment = bpf_htons((progress->frag_off + at / FRAGMENT_UNIT) | (more ? IP_MF : 0));
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
	fragmenting->skb->tc_index = progress->mark;
	progress->at += size;
	return 0;
}

static __always_inline int is_last(const struct fragmentation *progress)
{
	return progress->length - progress->at <= progress->largest;
}

static long send_fragment(__u32 index, void *context)
{
	struct fragmenting *fragmenting = context;

	return is_last(fragmenting->progress) || make_fragment(fragmenting) ||
	       bpf_clone_redirect(fragmenting->skb, fragmenting->skb->ifindex, BPF_F_INGRESS);
}

/* The kernel's skb_checksum_help(): resolves a pending checksum offload, so that the packet can be fragmented. */
static __always_inline int checksum_help(struct packet *packet)
{
	return has_checksum(packet->flow) && (fill_checksum(packet) || clear_partial(packet));
}

/* Replaces the packet, an IP header and `length` bytes behind it, by fragments that come in again. */
static __always_inline enum outcome fragment_packet(struct packet *packet, struct fragment_scratch *scratch,
						    __u32 length, __u32 mtu, __u32 mark)
{
	struct __sk_buff *skb = packet->ctx;
	struct fragmenting fragmenting = {.skb = skb};
	struct fragmentation *progress = &scratch->progress;
	struct iphdr *ip;

	fragmenting.payload = payload_scratch_get();
	if (!fragmenting.payload || !length || length >= FRAGMENTED_MAX ||
	    bpf_skb_load_bytes(skb, L4, fragmenting.payload, bounded_nonzero(FRAGMENTED_MAX, length)))
		return DROP_ERROR;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return DROP_ERROR;
	fragmenting.progress = progress;
	progress->at = 0;
	progress->length = length;
	progress->largest = (mtu - sizeof(*ip)) & ~(FRAGMENT_UNIT - 1);
	progress->frag_off = bpf_ntohs(ip->frag_off);
	progress->mark = mark;
	bpf_loop(FRAGMENTED_MAX / MTU_MIN, send_fragment, &fragmenting, 0);
	if (!is_last(progress) || make_fragment(&fragmenting))
		return DROP_ERROR;
	packet->flow->verdict = bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	return FORWARD_CUT;
}

/* Fragments the packet itself. The fragments go where it would have gone: by its connection, or by the choice that is
 * left for them. */
static __always_inline enum outcome fragment_inner(struct packet *packet, struct choice *choice)
{
	struct fragment_scratch *scratch = fragment_scratch_get();
	struct flow *flow = packet->flow;
	struct iphdr *ip;

	if (!scratch || checksum_help(packet))
		return DROP_ERROR;
	ip = packet_at(packet, L3, sizeof(*ip));
	if (!ip)
		return DROP_ERROR;
	if (flow->fragment == FRAGMENT_NONE && choice && !choice->number && fragment_remember(flow, ip->id, choice))
		return DROP_ERROR;
	return fragment_packet(packet, scratch, flow->length - sizeof(*ip), flow->mtu, FRAG_INNER);
}

/* What becomes of a packet larger than `flow->mtu`; a request comes with its choice. OUTCOMES: it can be transmitted,
 * as it is or with smaller segments, or its tunnel's packet will be fragmented. FORWARD_CUT: its fragments come in
 * again. REFUSE_TOO_BIG: it may not be fragmented. */
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
