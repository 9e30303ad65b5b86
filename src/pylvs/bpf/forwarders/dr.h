/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Direct routing: the packet goes to the real server's MAC address; but for the TTL it stays as it is. */
#ifndef PYLVS_FORWARDERS_DR_H
#define PYLVS_FORWARDERS_DR_H

#include "../forward.h"

static __always_inline enum outcome dr_forward(struct packet *packet, struct destination *destination, enum hop hop)
{
	if (decrement_ttl(packet))
		return DROP_ERROR;
	return send_to_destination(packet, destination, hop, FORWARD_DR);
}

#endif
