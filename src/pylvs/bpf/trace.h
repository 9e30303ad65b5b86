/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* `pylvs trace`: a record of each packet that it asks for, as it came and as it goes, through a ring buffer. On as long
 * as `settings.trace` lies ahead, which the tracer moves on every second: one that is killed leaves nothing behind. */
#ifndef PYLVS_TRACE_H
#define PYLVS_TRACE_H

#include "icmp.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} trace_ring SEC(".maps");

struct tracer {
	__u32 since; /* tick from which the records of this second are counted */
	__u32 sent;
	__u64 left_out; /* records over the rate */
	__u64 lost;     /* records for which the ring had no room */
	struct trace_record record;
};

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

/* As many bytes of the frame as there is room for. */
static __always_inline __u32 trace_frame(struct packet *packet, __u8 *to)
{
	__u32 whole =
		packet->hook == HOOK_XDP ? bpf_xdp_get_buff_len(packet->ctx) : ((struct __sk_buff *)packet->ctx)->len;
	__u32 size = whole < TRACE_SNAP ? whole : TRACE_SNAP;

	if (size)
		load_bytes(packet, 0, to, bounded_nonzero(TRACE_SNAP, size));
	return whole;
}

/* The frame as it came; a tracer that has gone is forgotten. */
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

/* The connection that the packet belongs to, looked up again so that the packet's own way stores nothing. */
static __always_inline struct connection *trace_connection(struct flow *flow, struct trace_record *record)
{
	struct found found = {};
	struct scratch *scratch = scratch_get();
	__u32 number;

	if (flow->flags & FLOW_ICMP_ERROR && scratch)
		flow = &scratch->quoted;
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

/* Who talks to whom: as the connection has it, or as the packet says. */
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

/* Where it goes: the real server's name, and the next hop. */
static __always_inline void trace_hop(struct flow *flow, struct trace_record *record, __u32 outcome)
{
	struct destination *destination = record->destination ? destination_get(record->destination) : 0;
	struct scratch *scratch = scratch_get();

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

/* Whether this second has room for one more. */
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

/* The live template for these clients, which is only looked at: number + 1, or 0. */
static __always_inline __u32 explain_template(const struct explain_args *args, const struct service *service, __u32 now)
{
	struct addr client = args->client, virtual = args->virtual;
	__be16 vport = args->vport == service->port ? args->vport : 0;
	__u8 protocol = args->protocol;
	__u64 hash;

	client.low &= service->netmask.low;
	client.high &= service->netmask.high;
	if (!vport && service->fwmark) {
		protocol = PROTO_NONE;
		virtual.high = 0;
		virtual.low = (__u64)bpf_htonl(service->fwmark) << 32 | (args->family == 4 ? 0xffff0000ULL : 0);
	}
	hash = hash_client(&client, 0, protocol);
	for (int passed = 0; passed < CANDIDATES; passed++) {
		__u32 number = bucket_of_hash(hash);
		struct connection_bucket *set = connection_bucket_get(number);

		for (__u32 way = 0; set && way < WAYS; way++) {
			struct connection *entry = &set->way[way];

			if (entry->tag == tag_of_hash(hash) && entry->flags & CONN_TEMPLATE &&
			    !(entry->flags & CONN_INVALID) && entry->vport == vport && entry->protocol == protocol &&
			    addr_equal(&entry->client, &client) && addr_equal(&entry->virtual, &virtual) &&
			    (!connection_expired(entry, now) || entry->control) &&
			    template_is_valid(entry, destination_get(entry->destination)))
				return number * WAYS + way + 1;
		}
		hash = hash_next(hash, &virtual, vport);
	}
	return 0;
}

/* What the scheduler would choose, which then has it not. lblc and lblcr would remember: the command says it by itself. */
static __always_inline __u32 explain_schedule(struct flow *flow, struct service *service, __u32 slot)
{
	__u64 cursor = service->cursor, moved;
	__u32 chosen;

	if (service->scheduler == SCHED_LBLC || service->scheduler == SCHED_LBLCR)
		return least_loaded(service->first, LOAD_OVERHEAD);
	chosen = schedule(flow, slot);
	moved = *(volatile __u64 *)&service->cursor;
	if (moved != cursor)
		__sync_val_compare_and_swap(&service->cursor, moved, cursor);
	return chosen;
}

SEC("syscall")
int explain(struct explain_args *args)
{
	struct flow flow = {.saddr = args->client, .daddr = args->virtual, .mark = args->mark};
	struct service *service;

	flow.sport = args->cport;
	flow.dport = args->vport;
	flow.protocol = args->protocol;
	flow.family = args->family;
	flow.flags = FLOW_OPENS;
	flow.now = args->now = now_ticks();
	args->mark = mark_of(&flow);
	args->pressed = table_is_pressed(flow.now);
	args->connection = flow.sport ? connection_lookup(&flow, 0) : 0;
	args->service = service_find(&flow);
	service = service_get(args->service);
	if (!args->service || !service)
		return 0;
	if (service->flags & SERVICE_PERSISTENT)
		args->template = explain_template(args, service, flow.now);
	args->destination = explain_schedule(&flow, service, args->service);
	args->consistent = schedule_consistently(&flow, args->service);
	return 0;
}

#endif
