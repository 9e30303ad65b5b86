// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* A test run repeats one packet. This draws a flow, makes the packet one of that flow again (undoing what the
 * program under test changed), and runs the program under test by a tail call: the director itself, a
 * reference, or the empty program whose time is subtracted. Fields are stored as wide as the director reads
 * them: a load over two stores would wait for both. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define inline_always static __attribute__((always_inline)) inline

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum target {
	TARGET_EMPTY,
	TARGET_SWAP,
	TARGET_GROW,
	TARGET_HASH_HIT,
	TARGET_LRU_HIT,
	TARGET_HASH_INSERT,
	TARGET_LRU_INSERT,
	TARGET_LINE,
	TARGET_DIRECTOR,
	TARGETS = 32
};

/* Written by Python before a run. */
struct plan {
	__u64 state; /* of the random numbers */
	__u32 flows;
	__u32 next; /* of sequential flows */
	__u32 sequential;
	__u32 target;
	__u32 family;
	__u32 replies;       /* from the server to the client */
	__u32 length;        /* of the frame; a tunnel makes it longer */
	__u32 client;        /* the first client's address, host order; IPv6: its last 32 bits */
	__u32 address_shift; /* address = client + (number >> shift & mask) */
	__u32 address_mask;
	__u32 port_shift; /* port = client_port + (number >> shift & mask) */
	__u32 port_mask;
	__u32 server;      /* the other end, as `client` */
	__u16 client_port; /* host order */
	__u16 server_port;
	__u32 misses; /* out: lookups of the references that found nothing */
	__u32 lines;  /* groups of eight cache lines, a power of two */
};
struct plan plan;

struct key {
	__be32 saddr;
	__be32 daddr;
	__be32 ports;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct key);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct key);
	__type(value, __u64);
} lru SEC(".maps");

/* As large as a connection table, and nothing but cache lines. */
enum { LINE = 64 };
struct lines {
	__u32 word[8][LINE / sizeof(__u32)];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lines);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TARGETS);
	__type(key, __u32);
	__type(value, __u32);
} xdp_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TARGETS);
	__type(key, __u32);
	__type(value, __u32);
} tc_targets SEC(".maps");

enum { IPV4_L4 = 34, IPV6_L4 = 54, HEADERS_V4 = 42, HEADERS_V6 = 62 };

struct ports {
	__be16 source;
	__be16 dest;
};

inline_always __u32 draw(void)
{
	if (plan.sequential)
		return plan.next++;
	plan.state = plan.state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (plan.state >> 32) * plan.flows >> 32;
}

inline_always void write_ports(struct ports *ports, __be16 client_port)
{
	if (plan.replies) {
		ports->source = bpf_htons(plan.server_port);
		ports->dest = client_port;
	} else {
		ports->source = client_port;
		ports->dest = bpf_htons(plan.server_port);
	}
}

inline_always void write_v4(void *data, __be32 client)
{
	struct iphdr *ip = data + ETH_HLEN;

	((struct ethhdr *)data)->h_proto = bpf_htons(ETH_P_IP);
	ip->ttl = 64;
	ip->check = 0;
	ip->saddr = plan.replies ? bpf_htonl(plan.server) : client;
	ip->daddr = plan.replies ? client : bpf_htonl(plan.server);
}

inline_always void write_v6(void *data, __be32 client)
{
	struct ipv6hdr *ip = data + ETH_HLEN;

	((struct ethhdr *)data)->h_proto = bpf_htons(ETH_P_IPV6);
	ip->hop_limit = 64;
	ip->saddr.in6_u.u6_addr32[3] = plan.replies ? bpf_htonl(plan.server) : client;
	ip->daddr.in6_u.u6_addr32[3] = plan.replies ? client : bpf_htonl(plan.server);
}

/* The frame, which is `data` to `end`, becomes a packet of the flow. */
inline_always void generate(void *data, void *end)
{
	__u32 number = draw();
	__be16 port = bpf_htons(plan.client_port + (number >> plan.port_shift & plan.port_mask));
	__be32 client = bpf_htonl(plan.client + (number >> plan.address_shift & plan.address_mask));

	if (plan.family == 4) {
		if (data + HEADERS_V4 > end)
			return;
		write_v4(data, client);
		write_ports(data + IPV4_L4, port);
	} else {
		if (data + HEADERS_V6 > end)
			return;
		write_v6(data, client);
		write_ports(data + IPV6_L4, port);
	}
}

SEC("xdp")
int generate_xdp(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;

	if (length > plan.length && bpf_xdp_adjust_head(ctx, length - plan.length))
		return XDP_ABORTED;
	generate((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	bpf_tail_call(ctx, &xdp_targets, plan.target);
	return XDP_ABORTED;
}

SEC("tc")
int generate_tc(struct __sk_buff *skb)
{
	generate((void *)(long)skb->data, (void *)(long)skb->data_end);
	bpf_tail_call(skb, &tc_targets, plan.target);
	return TC_ACT_SHOT;
}

SEC("xdp")
int empty_xdp(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int empty_tc(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

/* The floor of any balancer: finds addresses and ports, sends the frame back by swapping its MAC addresses.
 */
inline_always int swap(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + ETH_HLEN;
	struct ports *ports;
	__u8 mac[ETH_ALEN];

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl < 5)
		return -1;
	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 1) > end || (ip->protocol != 6 && ip->protocol != 17) || ip->frag_off & bpf_htons(0x3fff))
		return -1;
	if (!ports->dest || !ip->daddr)
		return -1;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return 0;
}

SEC("xdp")
int swap_xdp(struct xdp_md *ctx)
{
	return swap((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_PASS : XDP_TX;
}

SEC("tc")
int swap_tc(struct __sk_buff *skb)
{
	return swap((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_OK : TC_ACT_REDIRECT;
}

/* What a tunnel and its undoing by the generator cost: twice the helper. */
SEC("xdp")
int grow_xdp(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -20) ? XDP_ABORTED : XDP_TX;
}

/* Addresses and ports of the frame; protocol 0 if there are none. */
inline_always struct key key_of(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct key key = {};

	if (data + HEADERS_V4 > end)
		return key;
	key.saddr = ip->saddr;
	key.daddr = ip->daddr;
	key.ports = *(__be32 *)(ip + 1);
	key.protocol = ip->protocol;
	return key;
}

inline_always int hit(struct xdp_md *ctx, void *map)
{
	struct key key = key_of(ctx);
	__u64 *value = bpf_map_lookup_elem(map, &key);

	if (!value || !*value)
		plan.misses++;
	return XDP_TX;
}

SEC("xdp")
int hash_hit(struct xdp_md *ctx)
{
	return hit(ctx, &hash);
}

SEC("xdp")
int lru_hit(struct xdp_md *ctx)
{
	return hit(ctx, &lru);
}

/* The floor of any table: the one line of the flow, read, waited for (the next flow depends on it) and written. */
SEC("xdp")
int line_hit(struct xdp_md *ctx)
{
	struct key key = key_of(ctx);
	__u64 hash = (__u64)(bpf_ntohl(key.saddr) ^ key.ports) * 0x9e3779b97f4a7c15ULL;
	__u32 set = hash >> 40 & (plan.lines - 1);
	struct lines *found = bpf_map_lookup_elem(&lines, &set);

	if (!found)
		plan.misses++;
	else
		plan.state += found->word[hash >> 36 & 7][0]++ >> 31;
	return XDP_TX;
}

inline_always int insert(struct xdp_md *ctx, void *map)
{
	struct key key = key_of(ctx);
	__u64 one = 1;

	if (bpf_map_update_elem(map, &key, &one, BPF_ANY))
		plan.misses++;
	return XDP_TX;
}

SEC("xdp")
int hash_insert(struct xdp_md *ctx)
{
	return insert(ctx, &hash);
}

SEC("xdp")
int lru_insert(struct xdp_md *ctx)
{
	return insert(ctx, &lru);
}

/* Brings the enum into BTF. */
volatile const enum target target_of_nothing = TARGET_EMPTY;
