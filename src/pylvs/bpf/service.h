/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Which virtual service a packet is for. */
#ifndef PYLVS_SERVICE_H
#define PYLVS_SERVICE_H

#include "packet.h"

enum filter_kind { FILTER_VIP = 0, FILTER_RIP = 0x5bd1 };

/* Python computes the same bit (dataplane/filter.py). */
inline_always __u32 filter_bit(const struct addr *addr, enum filter_kind kind)
{
	__u32 folded = (__u32)addr->high ^ (__u32)(addr->high >> 32) ^ (__u32)addr->low ^ (__u32)(addr->low >> 32);

	return (folded * 0x9e3779b1U >> 16) ^ kind;
}

/* Whether the address can be a VIP (or a NAT server): one load instead of a lookup for all that is not for us. */
inline_always int filter_has(const struct addr *addr, enum filter_kind kind)
{
	__u32 zero = 0, bit = filter_bit(addr, kind) % FILTER_BITS;
	struct filter *bits = bpf_map_lookup_elem(&filter, &zero);

	return bits && bits->word[bit / 64] >> (bit % 64) & 1;
}

/* Slot of the service, 0 if none: by firewall mark, by address and port, by address and port zero. */
__attribute__((noinline)) __u32 service_find(struct flow *flow)
{
	struct settings *setting = settings_get();
	struct service_key key = {};
	__u32 *slot;

	if (!flow || !setting)
		return 0;
	key.family = flow->family;
	if (flow->mark && setting->fwmark_services) {
		key.fwmark = flow->mark;
		slot = bpf_map_lookup_elem(&services, &key);
		if (slot)
			return *slot;
		key.fwmark = 0;
	}
	key.address = flow->daddr;
	key.port = flow->dport;
	key.protocol = flow->protocol;
	slot = bpf_map_lookup_elem(&services, &key);
	if (slot || !setting->port_zero_services)
		return slot ? *slot : 0;
	key.port = 0;
	slot = bpf_map_lookup_elem(&services, &key);
	return slot ? *slot : 0;
}

#endif
