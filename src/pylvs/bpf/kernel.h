/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What is read of the kernel's own structures, where it lets programs do so (since Linux 6.2). */
#ifndef PYLVS_KERNEL_H
#define PYLVS_KERNEL_H

#include "packet.h"

#include <bpf/bpf_core_read.h>

/* libbpf fills in where this lies in the kernel that loads it. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct atomic {
	int counter;
};
struct netns_ipv4 {
	struct atomic rt_genid;
};
struct net {
	struct netns_ipv4 ipv4;
};
struct possible_net {
	struct net *net;
};
struct net_device {
	struct possible_net nd_net;
};
struct xdp_rxq_info {
	struct net_device *dev;
};
struct xdp_buff {
	struct xdp_rxq_info *rxq;
};
struct sk_buff {
	struct net_device *dev;
	__u8 ip_summed : 2;
};
#pragma clang attribute pop

void *bpf_cast_to_kern_ctx(void *ctx) __attribute__((section(".ksyms"), weak));

/* Changes when the routing table does. IPv4: the kernel counts the changes, and knows by that count which routes of its own
 * sockets are old (rt_is_expired() of net/ipv4/route.c). Where there is no such count, it is another every second, for each
 * client at a moment of its own. */
static __always_inline __u32 routing_stamp(struct packet *packet)
{
	struct net_device *device;

	if (!have_cast_kfunc || packet->flow->family != 4)
		return (packet->flow->now + packet->flow->dport) / settings.second;
	device = packet->hook == HOOK_XDP ? ((struct xdp_buff *)bpf_cast_to_kern_ctx(packet->ctx))->rxq->dev
					  : ((struct sk_buff *)bpf_cast_to_kern_ctx(packet->ctx))->dev;
	return device->nd_net.net->ipv4.rt_genid.counter;
}

/* Who has the checksum of a packet at TC (linux/skbuff.h): NONE and UNNECESSARY, what is in the packet is all of it; COMPLETE, the
 * kernel has a sum of its own beside it; PARTIAL, a card is to complete it. */
enum ip_summed { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL };

static __always_inline enum ip_summed skb_ip_summed(struct packet *packet)
{
	struct sk_buff *skb;

	if (!have_cast_kfunc)
		return CHECKSUM_COMPLETE; /* all that depends on it is left to the kernel then */
	skb = bpf_cast_to_kern_ctx(packet->ctx);
	return BPF_CORE_READ_BITFIELD(skb, ip_summed);
}

#endif
