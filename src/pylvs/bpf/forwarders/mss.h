/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* clamp_mss: reduces the maximum segment size that a SYN announces (RFC 9293, section 3.7.1) until segments fit into a
 * tunnel, for networks that lose the ICMP errors of path MTU discovery. */
#ifndef PYLVS_FORWARDERS_MSS_H
#define PYLVS_FORWARDERS_MSS_H

#include "../forward.h"

/* Options are 40 bytes at most; the next power of two bounds an index. */
enum { TCP_OPTIONS = 64, TCP_HEADER_WORDS = 5 };

/* net/tcp.h of the kernel. */
enum { TCPOPT_EOL = 0, TCPOPT_NOP = 1, TCPOPT_MSS = 2, TCPOLEN_MSS = 4 };

struct option_walk {
	const __u8 *options;
	__u32 length;
	__u32 at;
	__u32 found; /* offset of the value, 0: none */
};

static long option_visit(__u32 index, void *context)
{
	struct option_walk *walk = context;
	__u32 at = walk->at, size;

	if (at + 1 >= walk->length)
		return 1;
	if (walk->options[bounded(at, TCP_OPTIONS - 1)] == TCPOPT_EOL)
		return 1;
	if (walk->options[bounded(at, TCP_OPTIONS - 1)] == TCPOPT_NOP) {
		walk->at = at + 1;
		return 0;
	}
	size = walk->options[bounded(at + 1, TCP_OPTIONS - 1)];
	if (size < 2 || at + size > walk->length)
		return 1;
	if (walk->options[bounded(at, TCP_OPTIONS - 1)] == TCPOPT_MSS) {
		walk->found = size == TCPOLEN_MSS ? at + 2 : 0;
		return 1;
	}
	walk->at = at + size;
	return 0;
}

/* Offset of the MSS in the frame, 0 if the segment has none, or one that cannot be read. */
static __always_inline __u32 mss_find(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct tcphdr *tcp = transport_at(packet, sizeof(*tcp));
	struct copy_scratch *copy = copy_scratch_get();
	struct option_walk walk = {};
	__u32 length;

	if (!tcp || !copy || tcp->doff <= TCP_HEADER_WORDS)
		return 0;
	length = (tcp->doff - TCP_HEADER_WORDS) * 4;
	if (flow->l4 + sizeof(*tcp) + length > L3 + flow->length)
		return 0;
	length = bounded_nonzero(TCP_OPTIONS, length);
	if (load_bytes(packet, flow->l4 + sizeof(*tcp), copy->bytes, length))
		return 0;
	walk.options = copy->bytes;
	walk.length = length;
	bpf_loop(TCP_OPTIONS, option_visit, &walk, 0);
	return walk.found ? flow->l4 + sizeof(*tcp) + walk.found : 0;
}

/* Reduces the MSS to `max` bytes if it is more. A segment without one stays as it is. */
static __always_inline int clamp_mss(struct packet *packet, __u32 max)
{
	__u32 offset = mss_find(packet), check_at = checksum_at(packet->flow);
	__be16 old, new = bpf_htons(max), *mss;
	__u16 *check;

	if (!offset)
		return 0;
	mss = packet_at(packet, offset, sizeof(*mss));
	if (!mss)
		return 0;
	old = *mss;
	if (bpf_ntohs(old) <= max)
		return 0;
	*mss = new;
	if ((offset - packet->flow->l4) & 1) { /* it is not aligned to the 16-bit words of the sum */
		old = old << 8 | old >> 8;
		new = new << 8 | new >> 8;
	}
	if (packet->hook == HOOK_TC) /* it may be CHECKSUM_PARTIAL or CHECKSUM_COMPLETE */
		return bpf_l4_csum_replace(packet->ctx, check_at, old, new, sizeof(old));
	check = packet_at(packet, check_at, sizeof(*check));
	if (!check)
		return -1;
	*check = checksum_update(*check, checksum_delta(old, new));
	return 0;
}

#endif
