/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Direct routing: the packet as it is, to the real server's MAC address. */
#ifndef PYLVS_FORWARDERS_DR_H
#define PYLVS_FORWARDERS_DR_H

#include "../forward.h"

/* The bounds are checked once for both headers, and not by each of the functions that do the same for others. */
inline_always enum outcome dr_forward(struct packet *packet, struct destination *destination, enum hop hop)
{
	void *frame = packet_at(packet, 0, L3 + sizeof(struct iphdr));

	if (!frame)
		return DROP_ERROR;
	age_header(frame + L3, packet->flow->family);
	if (unlikely(hop != HOP_READY))
		return send_to_destination(packet, destination, hop, FORWARD_DR);
	write_macs(frame, destination->neighbour);
	packet_redirect(packet, destination->ifindex);
	return FORWARD_DR;
}

#endif
