/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Persistence (ip_vs_sched_persist()): clients of one network stay with one destination for a while.
 *
 * 1. A template is an entry of the connection table that stands for the client's network: with client port 0, the
 *    virtual port (0 if the service takes every port) and, for a firewall mark, the mark in place of the virtual
 *    address.
 * 2. A new flow looks for its template. One that is there decides, and lives on; else the scheduler does, and a new
 *    template remembers.
 * 3. From then on the template is held, and does not end, until its connection ends (or is not entered).
 * 4. A template ends when its timeout has passed without a new flow and none of its connections is left. One whose
 *    destination was deleted, or quiesced with expire_quiescent_template, is marked invalid and never found again. */
#ifndef PYLVS_PERSISTENCE_H
#define PYLVS_PERSISTENCE_H

#include "connection.h"
#include "schedulers/schedulers.h"

struct template_scratch {
	struct connection template;
};
PER_CPU_SCRATCH(template_scratch)

/* What the template for a flow of the service looks like. */
static __noinline void template_of(struct connection *like, const struct service *service, const struct flow *flow)
{
	__builtin_memset(like, 0, sizeof(*like));
	like->flags = CONN_TEMPLATE;
	like->protocol = flow->protocol;
	like->virtual = flow->daddr;
	like->client.low = flow->saddr.low & service->netmask.low;
	like->client.high = flow->saddr.high & service->netmask.high;
	if (flow->dport == service->port) {
		like->vport = flow->dport;
	} else if (service->fwmark) {
		like->protocol = PROTO_NONE;
		like->virtual.high = 0;
		like->virtual.low = (__u64)bpf_htonl(service->fwmark) << 32 | (flow->family == 4 ? 0xffff0000ULL : 0);
	}
}

/* Claims and publishes a template: its number + 1, or 0. The caller holds LOCK_TEMPLATE. */
static __noinline __u32 template_new(struct connection *template, __u32 now)
{
	__u64 hash = hash_client(&template->client, 0, template->protocol);
	struct claim claim = {.tag = tag_of_hash(hash)};
	__u32 locked = bucket_of_hash(hash) + 1;
	__u32 number = claim_candidate(&claim, hash, &template->virtual, template->vport, now, locked);
	struct destination *destination = destination_get(template->destination);
	struct connection *entry;

	if (!number)
		number = connection_claim(bucket_of_hash(hash), claim.tag, now, 1, locked);
	if (!number || !destination)
		return 0;
	entry = connection_get(number - 1);
	if (!entry)
		return 0;
	template->tag = TAG_BUSY;
	template->flags |= claim.flags;
	*entry = *template;
	if (claim.flags)
		count_overflow(entry, 1);
	bind_connection(destination, CONN_TEMPLATE);
	connection_publish(entry, number - 1, claim.tag);
	return number;
}

/* Marks a template as one that is never found again. */
static __always_inline void template_invalidate(struct connection *entry)
{
	union entry_word seen = entry_word(entry), new = seen;

	new.flags |= CONN_INVALID;
	if ((seen.flags & CONN_TEMPLATE) && seen.tag >= TAG_FIRST)
		entry_swap(entry, seen, new); /* should it fail, the next flow does it */
}

static __always_inline int template_is_valid(const struct destination *destination)
{
	if (!destination || !(destination->flags & DEST_AVAILABLE))
		return 0;
	return !settings.expire_quiescent_template || destination->weight > 0;
}

/* The live template like this one in the bucket: its number + 1, or 0. With `mark` one whose destination is gone is
 * marked. */
__noinline __u32 template_in_bucket(struct connection *like, __u32 bucket_number, __u32 tag, __u32 now, int mark)
{
	struct connection_bucket *bucket = bucket_get(bucket_number);

	if (!like || !bucket)
		return 0;
	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (tag + i) % WAYS;
		struct connection *entry = &bucket->way[way];

		if (entry->tag != tag || !(entry->flags & CONN_TEMPLATE) || (entry->flags & CONN_INVALID))
			continue;
		if (!addr_equal(&entry->client, &like->client) || !addr_equal(&entry->virtual, &like->virtual) ||
		    entry->vport != like->vport || entry->protocol != like->protocol)
			continue;
		if (connection_expired(entry, now) && !entry->control)
			continue;
		if (template_is_valid(destination_get(entry->destination)))
			return bucket_number * WAYS + way + 1;
		if (mark)
			template_invalidate(entry);
	}
	return 0;
}

static __noinline __u32 template_find(struct connection *like, __u32 now, int mark)
{
	__u64 hash = hash_client(&like->client, 0, like->protocol);
	__u32 number = template_in_bucket(like, bucket_of_hash(hash), tag_of_hash(hash), now, mark);

	for (int passed = 1; !number && passed < CANDIDATES && has_overflow(bucket_of_hash(hash)); passed++) {
		hash = hash_next(hash, &like->virtual, like->vport);
		number = template_in_bucket(like, bucket_of_hash(hash), tag_of_hash(hash), now, mark);
	}
	return number;
}

/* Holds the template: its destination's slot. */
static __noinline __u32 template_hold(__u32 number, __u32 now)
{
	struct connection *entry = connection_get(number - 1);

	if (!entry)
		return 0;
	__sync_fetch_and_add(&entry->control, 1);
	entry->expires = now + entry->timeout;
	due_by((number - 1) / WAYS, entry->expires);
	return entry->destination;
}

/* Schedules the flow, and makes the template that `like` will be, held by it. */
static __always_inline __u32 schedule_templated(struct service *service, __u32 slot, struct flow *flow,
						struct connection *like, __u32 *outcome)
{
	struct destination *destination;
	__u32 number;

	like->destination = schedule(flow, slot);
	destination = destination_get(like->destination);
	if (!like->destination || !destination)
		return 0;
	like->method = destination->method;
	like->rport = flow->dport == service->port ? destination->port : 0;
	like->timeout = service->timeout;
	like->expires = flow->now + service->timeout;
	like->control = 1;
	number = template_new(like, flow->now);
	if (!number)
		*outcome = DROP_NO_ENTRY;
	return number;
}

/* The lock word of the bucket that a template has as its primary one. */
static __noinline __u32 *template_locks(const struct connection *like)
{
	return locks_of(hash_client(&like->client, 0, like->protocol));
}

/* The slot of the destination for a new flow, 0: none, and the number + 1 of its template, which the flow holds. */
static __noinline __u32 schedule_persistently(struct service *service, __u32 slot, struct flow *flow,
					      __u32 *template_number, __u32 *outcome)
{
	struct template_scratch *scratch = template_scratch_get();
	struct connection *like;
	__u32 destination = 0, *locks;

	if (!scratch)
		return 0;
	like = &scratch->template;
	template_of(like, service, flow);
	locks = template_locks(like);
	if (!locks || !lock_take(locks, LOCK_TEMPLATE)) {
		*outcome = DROP_ERROR;
		return 0;
	}
	*template_number = template_find(like, flow->now, 1);
	if (*template_number) {
		destination = template_hold(*template_number, flow->now);
	} else {
		*template_number = schedule_templated(service, slot, flow, like, outcome);
		destination = *template_number ? like->destination : 0;
	}
	lock_release(locks, LOCK_TEMPLATE);
	return destination;
}

#endif
