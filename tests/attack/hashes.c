// SPDX-License-Identifier: GPL-2.0-or-later
/* The data plane's own hashes, compiled for this machine from its own headers, and how often related inputs meet.
 *
 * An input is a flow: client, port, virtual address, port. Related inputs differ by a difference that an outsider chooses,
 * by exclusive or, or added to the words. They must meet as seldom as any two. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "connection.h"
#include "service.h"

enum hash_kind { HASH_HOME, HASH_SECOND, HASH_TAG, HASH_ALL, HASH_FILTER };

struct input {
	struct addr client;
	struct addr virtual;
	__be16 cport;
	__be16 vport;
	__u32 protocol;
};

static __u64 home_of(const struct input *input)
{
	return hash_client(&input->client, input->cport, input->protocol);
}

/* Whether two inputs meet, by one kind of hash, in `buckets` of them. */
static int meet(int kind, const struct input *a, const struct input *b, __u32 buckets)
{
	__u64 x, y;

	if (kind == HASH_FILTER)
		return filter_bit(&a->client, FILTER_VIP) % buckets == filter_bit(&b->client, FILTER_VIP) % buckets;
	x = home_of(a);
	y = home_of(b);
	if (kind == HASH_TAG)
		return tag_of_hash(x) % buckets == tag_of_hash(y) % buckets;
	if (kind == HASH_HOME)
		return (x & 0xffffffff) * buckets >> 32 == (y & 0xffffffff) * buckets >> 32;
	x = hash_next(x, &a->virtual, a->vport);
	y = hash_next(y, &b->virtual, b->vport);
	return (x & 0xffffffff) * buckets >> 32 == (y & 0xffffffff) * buckets >> 32;
}

static void relate(struct input *to, const struct input *from, const struct input *by, int adding)
{
	const __u64 *a = (const void *)from, *d = (const void *)by;
	__u64 *b = (void *)to;

	for (unsigned i = 0; i < sizeof(*to) / sizeof(__u64); i++)
		b[i] = adding ? a[i] + d[i] : a[i] ^ d[i];
	to->protocol = from->protocol;
}

/* For each of `count` differences, how often the input and the one related to it meet; over `seeds` seeds, which are written to
 * the `size` bytes at `seed` from `draw` on. */
__attribute__((visibility("default"))) void related(int kind, __u8 *seed, __u32 size, __u64 draw, __u32 seeds,
						    const struct input *input, const struct input *differences,
						    __u32 count, int adding, __u32 buckets, __u32 *met)
{
	struct input other;

	for (__u32 n = 0; n < seeds; n++) {
		for (__u32 at = 0; at < size; at++) {
			draw ^= draw << 13;
			draw ^= draw >> 7;
			draw ^= draw << 17;
			seed[at] = draw >> 24;
		}
		for (__u32 i = 0; i < count; i++) {
			relate(&other, input, &differences[i], adding);
			met[i] += meet(kind, input, &other, buckets);
		}
	}
}
