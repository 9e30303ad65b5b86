/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Whether the routing table is still the one that was asked: the kernel's own count of its changes. */
#ifndef PYLVS_ROUTING_H
#define PYLVS_ROUTING_H

#include "packet.h"

/* What is read of the kernel's structures; libbpf fills in where it lies in the kernel that loads this. */
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
};
#pragma clang attribute pop

void *bpf_cast_to_kern_ctx(void *ctx) __attribute__((section(".ksyms"), weak)); /* since Linux 6.2 */

/* Changes when the routing table does. IPv4: the kernel counts the changes, and knows by that count which routes of its own
 * sockets are old (rt_is_expired() of net/ipv4/route.c). Where there is no such count, it is another every second, for each
 * client at a moment of its own. */
inline_always __u32 routing_stamp(struct packet *packet)
{
	struct net_device *device;

	if (!counts_routes || packet->flow->family != 4)
		return (packet->flow->now + packet->flow->dport) / settings.second;
	device = packet->hook == HOOK_XDP ? ((struct xdp_buff *)bpf_cast_to_kern_ctx(packet->ctx))->rxq->dev
					  : ((struct sk_buff *)bpf_cast_to_kern_ctx(packet->ctx))->dev;
	return device->nd_net.net->ipv4.rt_genid.counter;
}

#endif
