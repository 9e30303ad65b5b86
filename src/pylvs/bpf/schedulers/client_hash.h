/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The number of a client that sh and mh hash. */
#ifndef PYLVS_SCHEDULERS_CLIENT_HASH_H
#define PYLVS_SCHEDULERS_CLIENT_HASH_H

#include "common.h"

/* Port (with the flag sh-port or mh-port) and address added up, as the kernel does. */
static __always_inline __u32 client_number(struct service *service, struct flow *flow)
{
	__u32 port = service->flags & SERVICE_PORT ? bpf_ntohs(flow->sport) : 0;

	return port + bpf_ntohl(addr_fold(&flow->saddr));
}

#endif
