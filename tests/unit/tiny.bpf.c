/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* One of everything that the door to the kernel handles: maps, constants, and the three kinds of programs. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct addr {
	__u64 high;
	__u64 low;
};

enum colour { RED, GREEN = 7, BLUE };
enum { ROWS = 4 };

struct pair {
	__u32 a;
	__u32 b;
};

struct sample {
	struct addr address;
	__be16 port;
	__u8 kind;
	__s8 sign;
	__s32 weight;
	union {
		__u64 word;
		struct {
			__u32 first;
			__u32 second;
		};
	};
	__be32 mark;
	enum colour colour;
	__u8 mac[6];
	__be16 ports[3];
	__u32 numbers[ROWS];
	struct pair pair;
	struct pair pairs[2];
	__u32 spare;
};

struct holed {
	__u8 small;
	__u32 big;
};

struct tailed {
	__u64 big;
	__u8 small;
};

struct bits {
	__u32 low : 3;
	__u32 high : 29;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ROWS);
	__type(key, __u32);
	__type(value, struct sample);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct pair);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} seen SEC(".maps");

struct chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ROWS);
	__type(key, __u32);
	__type(value, __u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct chunk);
} chunks SEC(".maps");

struct settings {
	__u32 redirect_back;
} settings SEC(".data.settings") = {};

struct holed holed_kept;
struct tailed tailed_kept;
struct bits bits_kept;

volatile const __u32 answer = 1;
volatile const __u64 seed = 2;
volatile const __u8 flag = 0;

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u32 *value = bpf_map_lookup_elem(&seen, &zero);

	if (value)
		*value += 1;
}

SEC("xdp") int director_xdp(struct xdp_md *ctx)
{
	count();
	return ctx->ingress_ifindex == answer ? XDP_DROP : XDP_PASS;
}

SEC("tc") int director_tc(struct __sk_buff *skb)
{
	count();
	skb->priority = skb->mark + skb->ifindex;
	return skb->mark == answer ? 2 /* TC_ACT_SHOT */ : -1 /* TC_ACT_UNSPEC: the next program, or the stack */;
}

struct args {
	__u32 index;
	__u32 left;
	__u64 sum;
};

/* Adds element `index` of chunk 0, the constants, and `left`, which it takes down to 0. */
SEC("syscall") int add(struct args *args)
{
	__u32 zero = 0, index = args->index;
	void *chunk = bpf_map_lookup_elem(&chunks, &zero);
	__u64 *value = chunk ? bpf_map_lookup_elem(chunk, &index) : 0;

	if (!value)
		return -2;
	args->sum = *value + answer + seed + flag + args->left;
	args->left = 0;
	return 5;
}

char licence[] SEC("license") = "GPL";
