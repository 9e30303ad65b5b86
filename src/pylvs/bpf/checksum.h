/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Checksums: the Internet's, updated incrementally (RFC 1624) or by reading the packet, and SCTP's CRC32c, updated by
 * what a change of its first four bytes does to it. */
#ifndef PYLVS_CHECKSUM_H
#define PYLVS_CHECKSUM_H

#include "packet.h"

static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Whether the packet has a checksum of TCP or UDP; a fragment's is over all fragments, and does not count. */
static __always_inline int has_checksum(const struct flow *flow)
{
	return flow->fragment == FRAGMENT_NONE && (flow->protocol == PROTO_TCP || flow->protocol == PROTO_UDP);
}

/* Offset of TCP's or UDP's checksum in the frame. */
static __always_inline __u32 checksum_at(const struct flow *flow)
{
	return flow->l4 + (flow->protocol == PROTO_UDP ? __builtin_offsetof(struct udphdr, check)
						       : __builtin_offsetof(struct tcphdr, check));
}

/* What replacing one 16-bit word adds to a sum. */
static __always_inline __u64 checksum_delta(__be16 old, __be16 new)
{
	return (__u16)~old + (__u64) new;
}

/* What replacing an address adds to a sum; both are of one family. */
static __always_inline __u64 checksum_delta_addr(const struct addr *old, const struct addr *new)
{
	__u64 sum;

	if (likely(addr_is_v4(old)))
		return (__u32)~addr_v4(old) + (__u64)addr_v4(new);
	sum = (__u32) ~(__u32)old->low + (__u64)(__u32) ~(__u32)(old->low >> 32);

	sum += (__u32) ~(__u32)old->high + (__u64)(__u32) ~(__u32)(old->high >> 32);
	return sum + (__u32) new->low + (new->low >> 32) + (__u32) new->high + (new->high >> 32);
}

/* The checksum field after `delta` was added to what it covers. */
static __always_inline __u16 checksum_update(__u16 check, __u64 delta)
{
	return ~checksum_fold((__u16)~check + delta);
}

static __always_inline __u64 sum_of_pseudo_header(const struct addr *saddr, const struct addr *daddr, __u8 protocol,
						  __u32 length)
{
	__u64 sum = bpf_htons(protocol) + (__u64)bpf_htons(length);

	if (addr_is_v4(saddr))
		return sum + addr_v4(saddr) + addr_v4(daddr);
	sum += (saddr->low & 0xffffffff) + (saddr->low >> 32) + (saddr->high & 0xffffffff) + (saddr->high >> 32);
	return sum + (daddr->low & 0xffffffff) + (daddr->low >> 32) + (daddr->high & 0xffffffff) + (daddr->high >> 32);
}

/* Bytes of the packet that have to be copied to be read. What is behind them is zero. */
enum { COPY_MAX = 512 };
struct copy_scratch {
	__u8 bytes[COPY_MAX + 8] __attribute__((aligned(8)));
};
PER_CPU_SCRATCH(copy_scratch)

struct summing {
	void *ctx;
	__u32 offset;
	__u32 left;
	__u64 sum;
	__u64 failed;
};

static __always_inline long sum_block(struct summing *summing, enum hook hook)
{
	struct packet packet = {.ctx = summing->ctx, .hook = hook};
	__u32 size = summing->left < COPY_MAX ? summing->left : COPY_MAX;
	struct copy_scratch *copy = copy_scratch_get();

	if (!size || !copy)
		return 1;
	if (size < COPY_MAX)
		__builtin_memset(copy->bytes, 0, COPY_MAX); /* an odd number of bytes is padded with zero */
	size = bounded_nonzero(COPY_MAX, size);
	if (load_bytes(&packet, summing->offset, copy->bytes, size)) {
		summing->failed = 1;
		return 1;
	}
	summing->sum += (__u32)bpf_csum_diff(0, 0, (void *)copy->bytes, (size + 3) & ~3, 0);
	summing->offset += size;
	summing->left -= size;
	return 0;
}

static long sum_block_xdp(__u32 index, void *context)
{
	return sum_block(context, HOOK_XDP);
}

static long sum_block_tc(__u32 index, void *context)
{
	return sum_block(context, HOOK_TC);
}

/* The sum over the whole IP packet as it is now, by reading it. */
static __always_inline int sum_all(struct packet *packet, __u64 *sum)
{
	struct summing summing = {.ctx = packet->ctx, .offset = L3, .left = packet->flow->length};

	if (packet->hook == HOOK_XDP)
		bpf_loop((IP_LENGTH_MAX + 1) / COPY_MAX, sum_block_xdp, &summing, 0);
	else
		bpf_loop((IP_LENGTH_MAX + 1) / COPY_MAX, sum_block_tc, &summing, 0);
	*sum = summing.sum;
	return summing.failed || summing.left ? -1 : 0;
}

#define CRC32C_POLYNOMIAL 0x82f63b78U /* bit-reflected */

/* x^(8 * 2^k) mod the CRC32c polynomial, bit-reflected, for k = 0 to 15: what 2^k zero bytes do to a remainder. */
static const __u32 crc32c_zeros[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/* All ones if the bit is set. The asm hides from clang that it is one of two values: it would branch, and the verifier
 * walk both sides of 32 such branches. */
static __always_inline __u32 mask_of_bit(__u32 bit)
{
	__u32 mask = -(bit & 1);

	asm volatile("" : "+r"(mask));
	return mask;
}

/* a * b mod the polynomial, reflected: the highest bit is x^0. Out of line: the verifier walks it once, not for each
 * power. */
__noinline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 31; i >= 0; i--) {
		product ^= b & mask_of_bit(a >> i);
		b = b >> 1 ^ (CRC32C_POLYNOMIAL & mask_of_bit(b));
	}
	return product;
}

/* How the CRC changes when the first four bytes of `length` change by `delta` (exclusive or, as they lie in memory):
 * CRC is linear, so it is delta * x^(8 * length). */
__noinline __u32 crc32c_delta(__u32 delta, __u32 length)
{
	const __u32 one = 0x80000000U;

	for (int k = 0; k < 16; k++) {
		__u32 power = mask_of_bit(length >> k);

		delta = crc32c_multiply(one ^ ((one ^ crc32c_zeros[k]) & power), delta);
	}
	return delta;
}

#endif
