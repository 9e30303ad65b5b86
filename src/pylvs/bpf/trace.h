/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* `pylvs trace`: a record of each packet that matches its filter, as it came and as it left, through a ring buffer.
 *
 * 1. settings.trace is a tick until which packets are traced. The tracer moves it on every second, so that one
 *    which is killed leaves nothing behind. While it is 0, tracing costs a packet two tests.
 * 2. trace_before() copies the frame to per-CPU memory before anything is done to it.
 * 3. trace_after() adds what became of the packet, applies filter and rate, and sends the record. */
#ifndef PYLVS_TRACE_H
#define PYLVS_TRACE_H

#include "icmp.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} trace_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tracer);
} tracers SEC(".maps");

static __always_inline struct tracer *tracer_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tracers, &zero);
}

/* Copies as many bytes of the frame as there is room for; returns how many it has. */
static __always_inline __u32 trace_frame(struct packet *packet, __u8 *to)
{
	__u32 whole =
		packet->hook == HOOK_XDP ? bpf_xdp_get_buff_len(packet->ctx) : ((struct __sk_buff *)packet->ctx)->len;
	__u32 size = whole < TRACE_SNAP ? whole : TRACE_SNAP;

	if (size)
		load_bytes(packet, 0, to, bounded_nonzero(TRACE_SNAP, size));
	return whole;
}

/* Records the frame as it came. A tracer that has not moved its time on for a few seconds is gone, and forgotten. */
static __always_inline int trace_before(struct packet *packet, __u32 ifindex)
{
	struct tracer *tracer = tracer_get();

	if (!tracer)
		return 0;
	tracer->record.length = 0;
	if (!tick_before(now_ticks(), settings.trace)) {
		settings.trace = 0;
		return 0;
	}
	tracer->record.time = bpf_ktime_get_ns();
	tracer->record.hook = packet->hook;
	tracer->record.ifindex = ifindex;
	tracer->record.length = trace_frame(packet, tracer->record.before);
	return 0;
}

__noinline int trace_before_xdp(struct xdp_md *ctx)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP};

	return trace_before(&packet, ctx->ingress_ifindex);
}

__noinline int trace_before_tc(struct __sk_buff *ctx)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC};

	return trace_before(&packet, ctx->ifindex);
}

/* The connection that the packet belongs to. It is looked up again, so that the fast path stores nothing for a tracer.
 * With an ICMP error it is that of the quoted packet, which the packet's own path has left in scratch space. */
static __always_inline struct connection *trace_connection(struct flow *flow, struct trace_record *record)
{
	struct error_scratch *error = error_scratch_get();
	struct found found = {};
	__u32 number;

	if ((flow->flags & FLOW_ICMP_ERROR) && error)
		flow = &error->quoted;
	number = connection_lookup(flow, 0);
	if (!number) {
		record->flags |= TRACE_REPLY;
		number = connection_lookup(flow, 1);
	}
	if (!number)
		number = reply_find(flow, &found);
	if (!number)
		record->flags &= ~TRACE_REPLY;
	return number ? connection_get(number - 1) : 0;
}

/* Records the ends of the connection, or of the packet if it has none. */
static __always_inline void trace_names(struct flow *flow, struct trace_record *record)
{
	struct connection *connection;

	record->service = 0;
	record->destination = flow->chosen;
	record->flags = flow->chosen ? TRACE_NEW : 0;
	record->client = flow->saddr;
	record->virtual = flow->daddr;
	record->cport = flow->sport;
	record->vport = flow->dport;
	record->rport = 0;
	record->method = record->state = 0;
	record->protocol = flow->protocol;
	record->family = flow->family;
	record->event = flow->event;
	connection = flow->family ? trace_connection(flow, record) : 0;
	if (!connection) {
		if (flow->family && !flow->chosen)
			record->service = service_find(flow);
		return;
	}
	record->flags |= (flow->chosen ? 0 : TRACE_KNOWN) | (connection->control ? TRACE_PERSISTENT : 0);
	record->protocol = connection->protocol;
	record->destination = connection->destination;
	record->client = connection->client;
	record->virtual = connection->virtual;
	record->cport = connection->cport;
	record->vport = connection->vport;
	record->rport = connection->rport;
	record->method = connection->method;
	record->state = connection->state;
}

/* Records the real server and the next hop. The one of a reply is what its own path has left in scratch space. */
static __always_inline void trace_hop(struct flow *flow, struct trace_record *record, __u32 outcome)
{
	struct destination *destination = record->destination ? destination_get(record->destination) : 0;
	struct hop_scratch *scratch = hop_scratch_get();

	record->out = 0;
	__builtin_memset(&record->hop, 0, sizeof(record->hop));
	__builtin_memset(&record->real, 0, sizeof(record->real));
	if (destination) {
		record->real = destination->address;
		record->service = destination->service;
		if (record->flags & TRACE_NEW)
			record->method = destination->method;
		if (!record->rport)
			record->rport = destination->port ?: record->vport;
	}
	if (outcome >= REFUSE_NO_DESTINATION && outcome <= REFUSE_TOO_BIG) {
		record->out = record->ifindex;
		return;
	}
	if (outcome < FORWARD_DR || outcome > FORWARD_STATELESS)
		return;
	if (record->flags & TRACE_REPLY) {
		record->hop = record->client;
		record->out = scratch ? scratch->route.ifindex : 0;
	} else if (destination) {
		record->hop = destination->gateway;
		record->out = destination->ifindex;
	}
}

static __always_inline int trace_in(const struct addr *address, const struct addr *wanted, const struct addr *mask)
{
	return (address->low & mask->low) == wanted->low && (address->high & mask->high) == wanted->high;
}

static __always_inline int trace_wants(const struct trace_record *record)
{
	return (record->flags & TRACE_NEW ? trace.opening : trace.outcomes) >> (record->outcome & 31) & 1 &&
	       trace_in(&record->client, &trace.client, &trace.client_mask) &&
	       trace_in(&record->virtual, &trace.virtual, &trace.virtual_mask) &&
	       trace_in(&record->real, &trace.real, &trace.real_mask) &&
	       (!trace.vport || trace.vport == record->vport) && (!trace.rport || trace.rport == record->rport) &&
	       (!trace.protocol || trace.protocol == record->protocol);
}

/* Whether the rate allows one record more. */
static __always_inline int trace_may(struct tracer *tracer, __u32 now)
{
	if (now - tracer->since >= settings.second) {
		tracer->since = now;
		tracer->sent = 0;
	}
	if (tracer->sent >= trace.rate) {
		tracer->left_out++;
		return 0;
	}
	tracer->sent++;
	return 1;
}

static __always_inline int trace_after(struct packet *packet, __u32 outcome)
{
	struct tracer *tracer = tracer_get();
	struct trace_record *record;

	if (!tracer || !tracer->record.length)
		return 0;
	record = &tracer->record;
	record->outcome = outcome;
	trace_names(packet->flow, record);
	trace_hop(packet->flow, record, outcome);
	if (!trace_wants(record) || !trace_may(tracer, now_ticks()))
		return 0;
	record->left = trace_frame(packet, record->after);
	if (bpf_ringbuf_output(&trace_ring, record, sizeof(*record), 0))
		tracer->lost++;
	return 0;
}

__noinline int trace_after_xdp(struct xdp_md *ctx, struct flow *flow, int outcome)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP, .flow = flow};

	return flow ? trace_after(&packet, outcome) : 0;
}

__noinline int trace_after_tc(struct __sk_buff *ctx, struct flow *flow, int outcome)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	return flow ? trace_after(&packet, outcome) : 0;
}

static __always_inline void trace_arrival(struct packet *packet)
{
	if (packet->hook == HOOK_XDP)
		trace_before_xdp(packet->ctx);
	else
		trace_before_tc(packet->ctx);
}

static __always_inline void trace_departure(struct packet *packet, enum outcome outcome)
{
	if (packet->hook == HOOK_XDP)
		trace_after_xdp(packet->ctx, packet->flow, outcome);
	else
		trace_after_tc(packet->ctx, packet->flow, outcome);
}

#endif
