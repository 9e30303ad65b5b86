/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Locks by which a flow gets one entry, and a client one template, however many CPUs open it at once.
 *
 * 1. Who opens a connection holds the lock of its client while it looks for the connection once more, schedules and
 *    publishes. Established packets know no lock.
 * 2. Who looks for a template, makes one or ends one holds the lock of that template's client. It is taken second, and
 *    an entry is ended under a lock that is free at once or not at all, so that nobody waits for himself.
 * 3. A client's locks are chosen by its hash: two clients may share them, and wait for each other.
 * Nothing interrupts the holder but a hypervisor. Waiting ends after LOCK_TURNS, some 0.3 ms; the packet is dropped. */
#ifndef PYLVS_LOCK_H
#define PYLVS_LOCK_H

#include "maps.h"

enum { OPENINGS = 4096, LOCK_TURNS = 1 << 16 };

/* A cache line of its own. */
struct opening {
	__u32 flow;
	__u32 template;
	__u32 spare[14];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OPENINGS);
	__type(key, __u32);
	__type(value, struct opening);
} openings SEC(".maps");

/* The locks of the client with this hash. */
static __always_inline struct opening *opening_of(__u64 hash)
{
	__u32 index = (hash >> 32) % OPENINGS;

	return bpf_map_lookup_elem(&openings, &index);
}

static __always_inline int lock_is_free(__u32 *lock)
{
	return !*(volatile __u32 *)lock && !__sync_val_compare_and_swap(lock, 0, 1);
}

struct waiting {
	__u32 *lock;
	__u64 taken;
};

static long lock_visit(__u32 turn, void *context)
{
	struct waiting *waiting = context;

	waiting->taken = lock_is_free(waiting->lock);
	return waiting->taken;
}

/* Takes the lock if it is free; returns whether. */
static __always_inline int lock_try(__u32 *lock)
{
	return lock_is_free(lock);
}

/* Takes the lock, and waits for it if need be; returns whether it was taken. */
static __always_inline int lock_take(__u32 *lock)
{
	struct waiting waiting = {.lock = lock};

	if (likely(lock_is_free(lock)))
		return 1;
	bpf_loop(LOCK_TURNS, lock_visit, &waiting, 0);
	return waiting.taken;
}

static __always_inline void lock_release(__u32 *lock)
{
	__sync_lock_test_and_set(lock, 0);
}

#endif
