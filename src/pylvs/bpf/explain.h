/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* `pylvs trace --explain`: what would become of the first packet of a flow. The director's own functions are asked,
 * and nothing is changed: no entry is made, no counter moves, the scheduler's cursor is put back.
 *
 * It is a TC program, which alone may look up routes. Python runs it by BPF_PROG_TEST_RUN with a frame that has the
 * flow at EXPLAIN_AT, and gets the frame back with the answer there. */
#ifndef PYLVS_EXPLAIN_H
#define PYLVS_EXPLAIN_H

#include "icmp.h"

struct explain_scratch {
	struct explain_args args;
	struct flow flow;
	struct choice choice;
};
PER_CPU_SCRATCH(explain_scratch)

/* The template that would decide: number + 1, or 0. */
static __always_inline __u32 explain_template(const struct service *service, const struct flow *flow)
{
	struct template_scratch *scratch = template_scratch_get();

	if (!scratch || !(service->flags & SERVICE_PERSISTENT))
		return 0;
	template_of(&scratch->template, service, flow);
	return template_find(&scratch->template, flow->now, 0);
}

/* The slot of the destination that would be chosen for a new flow, 0: none. */
static __always_inline __u32 explain_choice(struct explain_args *args, struct service *service, struct flow *flow)
{
	struct connection *template = args->template ? connection_get(args->template - 1) : 0;

	if (template)
		return template->destination;
	if (!(service->flags & SERVICE_PERSISTENT) && !has_port(service, flow))
		return 0;
	return scheduler_preview(service, args->service, flow, args);
}

/* Whether, and how, the packet would get to its destination. */
static __always_inline enum outcome explain_hop(struct packet *packet, struct destination *destination, __u8 method)
{
	struct hop_scratch *scratch = hop_scratch_get();
	enum hop hop;

	if (!scratch)
		return DROP_ERROR;
	if (!(destination->flags & DEST_AVAILABLE))
		return DROP_DESTINATION_GONE;
	hop = HOP_RESOLVE;
	if (!is_route(route_lookup(packet, &destination->address, &scratch->fib, 0)))
		hop = hop_without_route(destination);
	if (hop == HOP_NO_ROUTE)
		return REFUSE_NO_ROUTE;
	if (hop == HOP_LOCAL && method != METHOD_NAT)
		return PASS_LOCAL;
	switch (method) {
	case METHOD_NAT: return FORWARD_NAT;
	case METHOD_TUN: return FORWARD_TUN;
	case METHOD_FULLNAT: return FORWARD_FULLNAT;
	}
	return FORWARD_DR;
}

/* Interface towards the client, by which its packets come in if routes are symmetric. */
static __always_inline __u32 explain_ingress(struct packet *packet, const struct addr *client)
{
	struct hop_scratch *scratch = hop_scratch_get();

	return scratch && is_route(route_lookup(packet, client, &scratch->fib, 0)) ? scratch->fib.ifindex : 0;
}

/* Fills in the choice for a packet of a known connection, or of a new flow. OUTCOMES: there is a destination. */
static __always_inline enum outcome explain_flow(struct explain_args *args, struct flow *flow, struct choice *choice)
{
	struct service *service = args->service ? service_get(args->service) : 0;
	struct connection *connection = args->connection ? connection_get(args->connection - 1) : 0;
	struct destination *destination;

	if (service) {
		args->template = explain_template(service, flow);
		args->consistent = schedule_consistently(flow, args->service);
	}
	if (connection) {
		choice_by_connection(choice, connection);
		return OUTCOMES;
	}
	if (!service)
		return PASS_NOT_OURS;
	choice->destination = explain_choice(args, service, flow);
	destination = destination_get(choice->destination);
	if (!choice->destination || !destination)
		return outcome_without(service);
	choice_by_destination(choice, destination, service, flow);
	return OUTCOMES;
}

static __always_inline void explain_packet(struct packet *packet, struct explain_args *args, struct choice *choice)
{
	struct flow *flow = packet->flow;
	struct destination *destination;

	args->mark = mark_of(flow);
	args->flags = table_is_pressed(flow->now) ? EXPLAIN_PRESSED : 0;
	args->connection = flow->sport ? connection_lookup(flow, 0) : 0;
	args->service = service_find(flow);
	args->ingress = explain_ingress(packet, &flow->saddr);
	__builtin_memset(choice, 0, sizeof(*choice));
	args->outcome = explain_flow(args, flow, choice);
	destination = destination_get(choice->destination);
	if (args->outcome != OUTCOMES || !destination)
		return;
	args->destination = choice->destination;
	args->rport = choice->rport;
	args->outcome = explain_hop(packet, destination, choice->method);
}

SEC("tc")
int explain(struct __sk_buff *skb)
{
	struct explain_scratch *scratch = explain_scratch_get();
	struct packet packet = {.ctx = skb, .hook = HOOK_TC};
	struct explain_args *args;
	struct flow *flow;

	if (!scratch)
		return TC_ACT_SHOT;
	args = &scratch->args;
	flow = packet.flow = &scratch->flow;
	if (bpf_skb_load_bytes(skb, EXPLAIN_AT, args, sizeof(*args)))
		return TC_ACT_SHOT;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->saddr = args->client;
	flow->daddr = args->virtual;
	flow->sport = args->cport;
	flow->dport = args->vport;
	flow->protocol = args->protocol;
	flow->family = args->family;
	flow->mark = args->mark;
	flow->flags = FLOW_OPENS;
	flow->now = args->now = now_ticks();
	explain_packet(&packet, args, &scratch->choice);
	return bpf_skb_store_bytes(skb, EXPLAIN_AT, args, sizeof(*args), 0) ? TC_ACT_SHOT : TC_ACT_OK;
}

#endif
