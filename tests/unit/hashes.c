// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The hashes of bpf/hash.h on this machine's own processor: how often two related inputs meet, over many keys.
 *
 * An input is INPUT bytes: two addresses of 16 bytes as packets have them, two ports, and 4 bytes more. */
#include <linux/types.h>
#include <string.h> /* __always_inline too */

#include "hash.h"

enum kind { CLIENT, NEXT, TUPLE, FILTER };
enum relation { XOR, SUM };
enum { KEYS = 27, INPUT = 40, WORDS = INPUT / 8, SHIFT = 48 };

/* What the header reads as constant is written here. */
__u64 key_storage[KEYS];
__asm__(".globl hash_key\n.set hash_key, key_storage");

/* Steele and Vigna's splitmix64. */
static __u64 next_random(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

__u64 hash_of(int kind, const __u8 *input)
{
	struct addr one, two;
	__be16 port[2];
	__u32 more;

	memcpy(&one, input, sizeof(one));
	memcpy(&two, input + 16, sizeof(two));
	memcpy(port, input + 32, sizeof(port));
	memcpy(&more, input + 36, sizeof(more));
	switch (kind) {
	case CLIENT: return hash_client(&one, port[0], more);
	case NEXT: return hash_next(one.low, &two, port[1]);
	case TUPLE: return hash_tuple(&one, &two, (__u64)more << 32 | (__u32)port[0] << 16 | port[1]);
	}
	return hash_addr(&one, (const volatile __u64 *)key_storage) >> SHIFT;
}

/* The bucket of so many; of the filter, and of the kernel's maps, which take the lower bits. */
static __u32 bucket_of(int kind, const __u8 *input, __u32 buckets)
{
	__u64 hash = hash_of(kind, input);

	return kind == CLIENT || kind == NEXT ? (hash & 0xffffffff) * buckets >> 32 : hash % buckets;
}

static void relate(__u8 *input, const __u8 *difference, int relation)
{
	__u32 carry = 0;

	for (int i = INPUT - 1; i >= 0; i--) { /* as one number in network order */
		if (relation == XOR) {
			input[i] ^= difference[i];
			continue;
		}
		carry += input[i] + difference[i];
		input[i] = carry;
		carry >>= 8;
	}
}

/* Draws keys, and an input of which `fixed` has the bits that do not vary. */
static void draw(__u64 seed, const __u8 *fixed, const __u8 *mask, __u8 *input)
{
	__u64 words[WORDS], state = seed;

	for (int i = 0; i < KEYS; i++)
		key_storage[i] = next_random(&state);
	for (int i = 0; i < WORDS; i++)
		words[i] = next_random(&state);
	memcpy(input, words, INPUT);
	for (int i = 0; i < INPUT; i++)
		input[i] = (input[i] & mask[i]) | fixed[i];
}

/* How many of `steps` inputs, each so much further than the one before, share the first one's bucket: the sum over the
 * seeds, and the most for one seed. */
void search(int kind, int relation, const __u8 *difference, const __u8 *fixed, const __u8 *mask, __u32 steps,
	    __u32 seeds, __u32 buckets, __u32 *sum, __u32 *most)
{
	__u8 input[INPUT];

	*sum = *most = 0;
	for (__u32 seed = 0; seed < seeds; seed++) {
		__u32 bucket, met = 0;

		draw((__u64)seed << 20, fixed, mask, input);
		bucket = bucket_of(kind, input, buckets);
		for (__u32 step = 0; step < steps; step++) {
			relate(input, difference, relation);
			met += bucket_of(kind, input, buckets) == bucket;
		}
		*sum += met;
		*most = met > *most ? met : *most;
	}
}
