/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locks by which a flow gets one entry, and a client one template, however many CPUs open it at once.
 *
 * 1. Who opens a connection holds LOCK_FLOW of its primary bucket while it looks for the connection once more, schedules
 *    and publishes. Established packets know no lock.
 * 2. Who looks for a template, makes one or ends one holds LOCK_TEMPLATE of the template's primary bucket. It is taken
 *    second, and to end an entry it is taken if it is free at once or not at all, so that nobody waits for himself.
 * 3. They are two bits beside the bucket's count of overflows, in a line that a new connection writes anyway.
 * Nothing interrupts the holder but a hypervisor. Waiting ends after LOCK_TURNS, some 0.3 ms; the packet is dropped. */
#ifndef PYLVS_LOCK_H
#define PYLVS_LOCK_H

#include "table.h"

enum { LOCK_FLOW = 1U << 31, LOCK_TEMPLATE = 1 << 30, LOCK_TURNS = 1 << 16 };
_Static_assert(!((LOCK_FLOW | LOCK_TEMPLATE) & OVERFLOW_COUNT), "locks are beside the count");

/* Where the locks are of what has this hash. */
static __always_inline __u32 *locks_of(__u64 hash)
{
	__u32 bucket = bucket_of_hash(hash);
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &bucket);

	return summary ? &summary->overflow : 0;
}

/* Takes the lock if it is free; returns whether. */
static __always_inline int lock_try(__u32 *locks, __u32 lock)
{
	return !(*(volatile __u32 *)locks & lock) && !(__sync_fetch_and_or(locks, lock) & lock);
}

struct waiting {
	__u32 *locks;
	__u32 lock;
	__u32 taken;
};

static long lock_visit(__u32 turn, void *context)
{
	struct waiting *waiting = context;

	waiting->taken = lock_try(waiting->locks, waiting->lock);
	return waiting->taken;
}

/* Takes the lock, and waits for it if need be; returns whether it was taken. */
static __always_inline int lock_take(__u32 *locks, __u32 lock)
{
	struct waiting waiting = {.locks = locks, .lock = lock};

	if (likely(lock_try(locks, lock)))
		return 1;
	bpf_loop(LOCK_TURNS, lock_visit, &waiting, 0);
	return waiting.taken;
}

static __always_inline void lock_release(__u32 *locks, __u32 lock)
{
	__sync_fetch_and_and(locks, ~lock);
}

#endif
