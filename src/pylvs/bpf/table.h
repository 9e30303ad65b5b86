/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The connection table: where an entry may be, and when it expires.
 *
 * 1. The table is set-associative: buckets of eight entries, each entry one cache line (docs/decisions/0002).
 * 2. An entry has four candidate buckets. The primary bucket is chosen by client address, client port and protocol
 *    alone, so that a request and, with NAT, its reply find the same entry. The others are chosen by the virtual
 *    address and port as well: many connections of one client port would all have the same primary bucket.
 * 3. A bucket counts the entries that found it full and went on to the next candidate. Where it has none, a lookup
 *    that finds nothing there probes no further.
 * 4. An entry is claimed by compare-and-swap of its tag to TAG_BUSY, filled in, and published by writing the tag: a
 *    hash, by which a lookup tells the entries of a bucket apart without reading them.
 * 5. A published entry changes by compare-and-swap of its first word, which has tag, state and flags. Who succeeds
 *    counts what he changed at the destination. An entry whose tag is TAG_BUSY is his who made it so.
 * 6. Beside the table lies, for each bucket, when its soonest entry expires. The sweep (sweep.h) reads that and not
 *    the table. It is a lower bound, so that refreshing an entry need not write it. */
#ifndef PYLVS_TABLE_H
#define PYLVS_TABLE_H

#include "hash.h"
#include "maps.h"

enum { CANDIDATES = 4 }; /* buckets that an entry may be in */

/* How many full buckets an entry passed is in two bits of its flags. */
enum { OVERFLOW_SHIFT = 5 };
_Static_assert(CONN_OVERFLOW == (CANDIDATES - 1) << OVERFLOW_SHIFT, "the count of candidates fits its flags");

static __always_inline __u32 overflow_of(__u8 flags)
{
	return flags >> OVERFLOW_SHIFT;
}

static __always_inline __u32 overflow_flags(__u32 passed)
{
	return passed << OVERFLOW_SHIFT;
}

/* The table has any number of buckets, not only a power of two. */
static __always_inline __u32 bucket_of_hash(__u64 hash)
{
	return (hash & 0xffffffff) * table_buckets >> 32;
}

static __always_inline __u32 tag_of_hash(__u64 hash)
{
	__u32 tag = hash >> 32;

	return tag < TAG_FIRST ? tag + TAG_FIRST : tag;
}

static __always_inline struct connection_bucket *bucket_get(__u32 bucket)
{
	return bpf_map_lookup_elem(&connections, &bucket);
}

/* An entry by its number, bucket * WAYS + way. */
static __always_inline struct connection *connection_get(__u32 number)
{
	struct connection_bucket *bucket = bucket_get(number / WAYS);

	if (!bucket)
		return 0;
	return &bucket->way[bounded(number, WAYS - 1)]; /* not before the check, where clang would compute it */
}

/* The first word of an entry. */
union entry_word {
	__u64 all;
	struct {
		__u32 tag;
		__u8 state;
		__u8 flags;
		__u8 protocol;
		__u8 method;
	};
};
typedef __u64 __attribute__((may_alias)) aliasing_u64;

static __always_inline union entry_word entry_word(const struct connection *connection)
{
	union entry_word word = {.all = *(volatile const aliasing_u64 *)connection};

	return word;
}

/* Exchanges the word that was seen for a new one; returns whether it was still there. */
static __always_inline int entry_swap(struct connection *connection, union entry_word seen, union entry_word new)
{
	return __sync_val_compare_and_swap((aliasing_u64 *)connection, seen.all, new.all) == seen.all;
}

static __always_inline int connection_expired(const struct connection *connection, __u32 now)
{
	return !tick_before(now, connection->expires);
}

/* Lets the sweep look at the bucket at `expires`, or sooner. */
static __always_inline void due_by(__u32 bucket, __u32 expires)
{
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &bucket);
	__u32 *due_at = summary ? &summary->due : 0;

	if (!due_at)
		return;
	expires = expires ?: 1;
	for (int i = 0; i < 4; i++) {
		__u32 old = *(volatile __u32 *)due_at;

		if (old && !tick_before(expires, old))
			return;
		if (__sync_val_compare_and_swap(due_at, old, expires) == old)
			return;
	}
	*(volatile __u32 *)due_at = 1; /* four rivals in a row: the sweep is to look at once */
}

static __always_inline int has_overflow(__u32 bucket)
{
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &bucket);

	return summary && (summary->overflow & OVERFLOW_COUNT);
}

/* Counts an entry in, or out (`step` -1), at each full bucket that it passed. */
__noinline int count_overflow(const struct connection *connection, int step)
{
	__u64 hash;

	if (!connection)
		return 0;
	hash = hash_client(&connection->client, connection->cport, connection->protocol);
	for (__u32 passed = 0; passed < CANDIDATES - 1; passed++) {
		__u32 bucket = bucket_of_hash(hash);
		struct bucket_summary *summary = bpf_map_lookup_elem(&due, &bucket);

		if (passed >= overflow_of(connection->flags))
			break;
		if (summary)
			__sync_fetch_and_add(&summary->overflow, step);
		hash = hash_next(hash, &connection->virtual, connection->vport);
	}
	return 0;
}

static __always_inline void connection_publish(struct connection *connection, __u32 number, __u32 tag)
{
	__sync_lock_test_and_set(&connection->tag, tag);
	due_by(number / WAYS, connection->expires);
}

enum { PRESSED_SECONDS = 60 };

/* Whether a new flow has found no room in the last minute (docs/decisions/0003). */
static __always_inline int table_is_pressed(__u32 now)
{
	return settings.table_pressed && tick_before(now, settings.table_pressed + PRESSED_SECONDS * settings.second);
}

#endif
