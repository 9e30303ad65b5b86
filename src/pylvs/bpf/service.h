/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Which virtual service a packet is for.
 *
 * 1. filter_has() recognises most packets that are not ours by their addresses, without a lookup.
 * 2. mark_of() finds the packet's firewall mark: netfilter's, or by the rules of `pylvs mark`.
 * 3. service_find() looks for a service by mark, then by address and port, then by address and port 0. */
#ifndef PYLVS_SERVICE_H
#define PYLVS_SERVICE_H

#include "hash.h"
#include "packet.h"

/* The bit of an address; abi.h says how Python computes the same. */
static __always_inline __u32 filter_bit(const struct addr *addr, enum filter_kind kind)
{
	return hash_addr(addr, settings.filter_key) >> FILTER_SHIFT ^ kind;
}

/* Whether the address may be a VIP, or a real server that NAT's replies come from. */
static __always_inline int filter_has(const struct addr *addr, enum filter_kind kind)
{
	__u32 bit = filter_bit(addr, kind) % FILTER_BITS;

	return filter.word[bit / 64] >> (bit % 64) & 1;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MARK_RULES);
	__type(key, __u32);
	__type(value, struct mark_rule);
} mark_rules SEC(".maps");

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

/* The packet's firewall mark: netfilter's if it has one (at TC only: XDP runs before netfilter), else that of our
 * rules. */
static __always_inline __u32 mark_of(struct flow *flow)
{
	__u32 rules = settings.mark_rules;
	struct marking marking = {.flow = flow, .mark = flow->mark, .first = rules >> 16};

	if (!marking.mark && rules)
		bpf_loop(rules & 0xffff, marking_visit, &marking, 0);
	return marking.mark;
}

/* The slot of the packet's service, 0: none. */
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
