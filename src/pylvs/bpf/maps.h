/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The maps: what the director knows. Everything is pinned; nothing needs a process to stay. */
#ifndef PYLVS_MAPS_H
#define PYLVS_MAPS_H

#include "abi.h"
#include "verifier.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Set before loading. */
volatile const __u32 table_buckets = 0;   /* of the connection table */
volatile const __u32 tick_shift = 0;      /* jiffies >> tick_shift = ticks */
volatile const __u32 cpus = 0;            /* that are possible */
volatile const __u32 have_cast_kfunc = 0; /* the kernel lets its own structures be read */
volatile const struct abi abi = {};
volatile const __u64 hash_seed = 0; /* secret: nobody outside can aim at one set */

/* Sections of their own, and so maps of their own: what is in them is had without a lookup. */
struct settings settings SEC(".data.settings") = {};
struct filter filter SEC(".data.filter") = {};
struct trace_filter trace SEC(".data.trace") = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct service_key);
	__type(value, __u32);
} services SEC(".maps");

/* value_size is set before loading, with `cpus`. */
struct records_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CHUNK);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, RECORD_SIZE + CPU_LINE);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CHUNKS);
	__type(key, __u32);
	__array(values, struct records_chunk);
} records SEC(".maps");

struct estimates_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CHUNK);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct estimate));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CHUNKS);
	__type(key, __u32);
	__array(values, struct estimates_chunk);
} estimates SEC(".maps");

/* max_entries is set before loading, with `sets`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection_bucket);
} connections SEC(".maps");

struct bucket_summary {
	__u32 due;
	__u32 overflow;
};

/* For each set, when its soonest entry expires (lower half; 0: it is empty), which the sweep reads instead of the table; and
 * how many entries had to go on to another set (upper half). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket_summary);
} due SEC(".maps");

/* Lookup tables by slot of the service; the values are slots of destinations. Sizes are the kernel's defaults
 * (IP_VS_SH_TAB_BITS and IP_VS_DH_TAB_BITS 8, IP_VS_MH_TAB_INDEX 12). */
enum { BUCKETS = 256, MAGLEV = 4093 };
struct buckets {
	__u32 slot[BUCKETS];
};
struct maglev {
	__u32 slot[MAGLEV + 3]; /* a power of two, for the verifier */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct buckets);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct maglev);
} maglevs SEC(".maps");

/* Deleted destinations whose connections live on: added again, they take them over. Python's alone. */
struct trash_key {
	struct service_key service;
	struct addr address;
	__be16 port;
	__u16 spare[3];
};
struct trashed {
	__u32 slot;
	__u32 tick; /* when it was deleted */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct trash_key);
	__type(value, struct trashed);
} trash SEC(".maps");

/* Where `control` fills tables before they are put in place. */
struct permutation {
	__u32 slot;
	__u32 next;
	__u32 skip;
	__u32 turns;
};
enum { PERMUTATIONS = 1024, BPF_MAX_STEPS = 1 << 23 };
struct workbench {
	__u32 who; /* whose turn it is; here and not on the stack, where the verifier would count along */
	__u32 count;
	__u32 filled;
	__u32 turn;
	struct buckets buckets;
	struct maglev maglev;
	struct permutation permutation[PERMUTATIONS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct workbench);
} workbenches SEC(".maps");

/* lblc and lblcr: which destinations have an address (a web site behind a cache, say). Bounded: the oldest go. */
enum { CACHED_MAX = 16 };
struct cached_key {
	struct addr address;
	__u32 service;
	__u32 spare;
};
struct cached {
	__u32 slot[CACHED_MAX];
	__u32 count;
	__u32 changed; /* tick */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct cached_key);
	__type(value, struct cached);
} localities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

struct fragment_key {
	struct addr saddr;
	struct addr daddr;
	__u32 id;
	__u32 protocol;
};

struct fragment {
	__be16 sport;
	__be16 dport;
	__be16 rport;
	__u8 method;
	__u8 stateless;
	__u32 destination; /* its slot, if no connection was entered for the datagram; and the three before it */
};

/* The first fragment of a datagram leaves its ports for the others, and where it went. Bounded: the oldest go. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

/* Which connection a reply belongs to, where the table's own hash does not lead to it: to one of FULLNAT's ports, or to the
 * client of a NAT connection in its second set. */
struct reply_key {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct reply_key);
	__type(value, __u32);
} replies SEC(".maps");

/* FULLNAT: the director's own addresses; a destination uses some in a row. */
enum { LOCAL_ADDRESSES = 4096 };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LOCAL_ADDRESSES);
	__type(key, __u32);
	__type(value, struct addr);
} local_addresses SEC(".maps");

struct route {
	struct addr address;
	__u32 checked;
	__u32 ifindex;
	__u8 neighbour[6];
	__u8 own[6];
	__u32 sequence;
	__u32 mtu; /* of the path, 0: not known */
	__u32 spare[4];
};

/* Next hops towards clients, for NAT's replies: direct-mapped by address, a line each. */
enum { ROUTES = 65536 };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROUTES);
	__type(key, __u32);
	__type(value, struct route);
} routes SEC(".maps");

/* The next hops of NAT's replies, which connections share: by gateway and interface. Slot 0 is nobody's. What a slot stands
 * for never changes. */
enum { HOP_BITS = 12, HOPS = 1 << HOP_BITS, HOP_TRIES = 4 };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HOPS);
	__type(key, __u32);
	__type(value, struct route);
} hops SEC(".maps");

struct clock {
	struct bpf_timer timer;
	__u32 next_set;      /* the sweep goes on here */
	__u32 last_estimate; /* tick */
	__u32 records;       /* that the estimator has before it */
	__u32 running;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clock);
} clocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MARK_RULES);
	__type(key, __u32);
	__type(value, struct mark_rule);
} mark_rules SEC(".maps");

/* Tokens for ICMP errors, refilled as time goes. */
struct token_bucket {
	__u32 tick;
	__u32 tokens;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct token_bucket);
} icmp_tokens SEC(".maps");

static __always_inline void *record_get(__u32 slot)
{
	__u32 chunk = slot / CHUNK, index = slot % CHUNK;
	void *records_of_chunk = bpf_map_lookup_elem(&records, &chunk);

	return records_of_chunk ? bpf_map_lookup_elem(records_of_chunk, &index) : 0;
}

static __always_inline struct service *service_get(__u32 slot)
{
	return record_get(slot);
}

static __always_inline struct destination *destination_get(__u32 slot)
{
	return record_get(slot);
}

static __always_inline __u32 now_ticks(void)
{
	return bpf_jiffies64() >> tick_shift;
}

/* Whether tick a is before tick b, around the wrap. */
static __always_inline int tick_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static __always_inline int addr_equal(const struct addr *a, const struct addr *b)
{
	return a->low == b->low && a->high == b->high;
}

_Static_assert(sizeof(struct connection) == 64, "a connection is one cache line");
_Static_assert(sizeof(struct service) == RECORD_SIZE, "a service is a record");
_Static_assert(sizeof(struct destination) == RECORD_SIZE, "a destination is a record");
_Static_assert(sizeof(struct counters) <= CPU_LINE, "counters are a CPU's own line");
_Static_assert(sizeof(struct retired) == RECORD_SIZE, "so it is when it is retired");

#endif
