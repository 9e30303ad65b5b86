/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Which virtual service a packet is for. */
#ifndef PYLVS_SERVICE_H
#define PYLVS_SERVICE_H

#include "packet.h"

enum filter_kind { FILTER_VIP = 0, FILTER_RIP = 0x5bd1 };

/* Python computes the same bit (dataplane/filter.py). */
static __always_inline __u32 filter_bit(const struct addr *addr, enum filter_kind kind)
{
	__u32 folded = (__u32)addr->high ^ (__u32)(addr->high >> 32) ^ (__u32)addr->low ^ (__u32)(addr->low >> 32);

	return (folded * 0x9e3779b1U >> 16) ^ kind;
}

/* Whether the address can be a VIP (or a NAT server): one load instead of a lookup for all that is not for us. */
static __always_inline int filter_has(const struct addr *addr, enum filter_kind kind)
{
	__u32 bit = filter_bit(addr, kind) % FILTER_BITS;

	return filter.word[bit / 64] >> (bit % 64) & 1;
}

struct marking {
	struct flow *flow;
	__u32 mark;
	__u32 first;
};

static long marking_visit(__u32 index, void *context)
{
	struct marking *marking = context;
	__u32 number = marking->first + index;
	struct mark_rule *rule = bpf_map_lookup_elem(&mark_rules, &number);
	const struct addr *daddr = &marking->flow->daddr;
	__u16 port = bpf_ntohs(marking->flow->dport);

	if (!rule)
		return 1;
	if ((daddr->low & rule->mask.low) != rule->address.low ||
	    (daddr->high & rule->mask.high) != rule->address.high ||
	    (rule->protocol && rule->protocol != marking->flow->protocol) || port < rule->first_port ||
	    port > rule->last_port)
		return 0;
	marking->mark = rule->mark;
	return 1;
}

/* The packet's firewall mark: netfilter's if it has one (TC only: XDP comes before netfilter), else that of our rules. */
static __always_inline __u32 mark_of(struct flow *flow)
{
	__u32 rules = settings.mark_rules;
	struct marking marking = {.flow = flow, .mark = flow->mark, .first = rules >> 16};

	if (!marking.mark && rules)
		bpf_loop(rules & 0xffff, marking_visit, &marking, 0);
	return marking.mark;
}

/* Slot of the service, 0 if none: by firewall mark, by address and port, by address and port zero. */
__noinline __u32 service_find(struct flow *flow)
{
	struct service_key key = {};
	__u32 *slot;

	if (!flow)
		return 0;
	key.family = flow->family;
	if (settings.fwmark_services) {
		key.fwmark = mark_of(flow);
		slot = key.fwmark ? bpf_map_lookup_elem(&services, &key) : 0;
		if (slot)
			return *slot;
		key.fwmark = 0;
	}
	key.address = flow->daddr;
	key.port = flow->dport;
	key.protocol = flow->protocol;
	slot = bpf_map_lookup_elem(&services, &key);
	if (slot || !settings.port_zero_services)
		return slot ? *slot : 0;
	key.port = 0;
	slot = bpf_map_lookup_elem(&services, &key);
	return slot ? *slot : 0;
}

#endif
