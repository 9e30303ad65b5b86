/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What the director knows: its constants and the maps that several headers use. A map that one header alone uses is
 * declared there. All are pinned, so that no process has to stay. */
#ifndef PYLVS_MAPS_H
#define PYLVS_MAPS_H

#include "records.h"

/* Constants, set before loading. The verifier knows them, and leaves out what they exclude. */
volatile const __u32 table_buckets = 0;        /* of the connection table */
volatile const __u32 tick_shift = 0;           /* jiffies >> tick_shift = ticks */
volatile const __u32 cpus = 0;                 /* possible CPUs */
volatile const __u32 have_cast_kfunc = 0;      /* bpf_cast_to_kern_ctx() is available (Linux 6.2) */
volatile const __u64 hash_key[HASH_KEYS] = {}; /* random, so that nobody outside can aim at one bucket (hash.h) */
volatile const struct abi abi = {};

/* In sections of their own, and so in maps of their own, which a program reads without a lookup. */
struct settings settings SEC(".data.settings") = {};
struct filter filter SEC(".data.filter") = {};
struct trace_filter trace SEC(".data.trace") = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct service_key);
	__type(value, __u32); /* slot */
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct trash_key);
	__type(value, struct trashed);
} trash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

/* FULLNAT: the director's own addresses. A destination uses some in a row. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LOCALS_MAX);
	__type(key, __u32);
	__type(value, struct addr);
} local_addresses SEC(".maps");

/* Per-CPU scratch space: a whole chain of calls has 512 bytes of stack, and whoever needs more on a slow path declares
 * a map NAME, of one struct NAME for each CPU, and fetches it by NAME_get(). Every user has its own, and passes it on
 * as an argument. Python and the tests know such maps by their names, which end in "scratch". */
#define PER_CPU_SCRATCH(name)                                                                                          \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, struct name);                                                                            \
	} name SEC(".maps");                                                                                           \
                                                                                                                       \
	static __always_inline struct name *name##_get(void)                                                           \
	{                                                                                                              \
		__u32 zero = 0;                                                                                        \
                                                                                                                       \
		return bpf_map_lookup_elem(&name, &zero);                                                              \
	}

static __always_inline __u32 now_ticks(void)
{
	return bpf_jiffies64() >> tick_shift;
}

#endif
