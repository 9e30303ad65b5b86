/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What is read of the kernel's own structures, by bpf_cast_to_kern_ctx() (since Linux 6.2): whether the routing table
 * has changed, and the state of a packet's checksum. Without it there is a substitute for either. */
#ifndef PYLVS_KERNEL_H
#define PYLVS_KERNEL_H

#include "packet.h"

#include <bpf/bpf_core_read.h>

/* libbpf fills in the offsets that the kernel which loads it has (CO-RE). */
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

/* A number that changes with the routing table. For IPv4 it is the kernel's own count of changes, by which it tells
 * that the routes of its sockets are old (rt_is_expired() of net/ipv4/route.c). Where that is not to be had it changes
 * every second, for each client at a moment of its own. */
static __always_inline __u32 routing_stamp(struct packet *packet)
{
	struct net_device *device;

	if (!have_cast_kfunc || packet->flow->family != 4)
		return (packet->flow->now + packet->flow->dport) / settings.second;
	device = packet->hook == HOOK_XDP ? ((struct xdp_buff *)bpf_cast_to_kern_ctx(packet->ctx))->rxq->dev
					  : ((struct sk_buff *)bpf_cast_to_kern_ctx(packet->ctx))->dev;
	return device->nd_net.net->ipv4.rt_genid.counter;
}

/* State of a packet's checksum at TC (linux/skbuff.h). NONE and UNNECESSARY: it is in the packet. COMPLETE: the kernel
 * has a sum of the whole packet beside it. PARTIAL: the packet has the sum of the pseudo header, and the NIC is to add
 * the rest. */
enum ip_summed { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL };

static __always_inline enum ip_summed skb_ip_summed(struct packet *packet)
{
	struct sk_buff *skb;

	if (!have_cast_kfunc)
		return CHECKSUM_COMPLETE; /* the kernel's helper is called then, which knows */
	skb = bpf_cast_to_kern_ctx(packet->ctx);
	return BPF_CORE_READ_BITFIELD(skb, ip_summed);
}

#endif
