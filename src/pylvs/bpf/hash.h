/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The hashes of what outsiders send, which nobody can aim without the keys.
 *
 * Each half of a word has a secret added before it is multiplied by the other half with a secret of its own, and the
 * products are added: Multilinear-HM of Lemire and Kaser, "Strongly universal string hashing is fast" (The Computer
 * Journal 57, 2014). The upper 32 bits of the sum of any two different inputs, however they are related, are as likely to
 * be equal as those of two random numbers. So no difference of inputs, exclusive or or sum, makes a collision likely; a
 * key that all inputs meet in the same place, as a seed does, can cancel out. The last multiplication, by a secret too,
 * brings the upper bits to the lower ones, and keeps inputs in arithmetic progression from lying side by side.
 */
#ifndef PYLVS_HASH_H
#define PYLVS_HASH_H

#include "addr.h"

extern volatile const __u64 hash_key[]; /* secret, random (maps.h) */

/* Where in `hash_key` the keys of each hash begin: two for each word, and one to finish with. */
enum {
	KEY_CLIENT = 0,
	KEY_CLIENT_FINISH = 6,
	KEY_NEXT = 7,
	KEY_NEXT_FINISH = 15,
	KEY_TUPLE = 16,
	KEY_TUPLE_FINISH = 26
};

static __always_inline __u64 hash_word(__u64 word, const volatile __u64 *key)
{
	return ((__u32)word + key[0]) * ((word >> 32) + key[1]);
}

static __always_inline __u64 hash_addr(const struct addr *addr, const volatile __u64 *key)
{
	return hash_word(addr->low, key) + hash_word(addr->high, key + 2);
}

static __always_inline __u64 hash_finish(__u64 sum, __u64 key)
{
	sum = (sum ^ sum >> 32) * (key | 1);
	return sum ^ sum >> 32;
}

/* Of a client, the first hash of an entry: common to a request of NAT and its reply. */
static __always_inline __u64 hash_client(const struct addr *client, __be16 cport, __u8 protocol)
{
	const volatile __u64 *key = &hash_key[KEY_CLIENT];

	return hash_finish(hash_addr(client, key) + hash_word((__u32)cport << 8 | protocol, key + 4),
			   hash_key[KEY_CLIENT_FINISH]);
}

/* The hash of the next candidate bucket. */
static __always_inline __u64 hash_next(__u64 hash, const struct addr *virtual, __be16 vport)
{
	const volatile __u64 *key = &hash_key[KEY_NEXT];

	return hash_finish(hash_word(hash, key) + hash_addr(virtual, key + 2) + hash_word(vport, key + 6),
			   hash_key[KEY_NEXT_FINISH]);
}

/* Of a packet's tuple. It is the first word of a key of the kernel's hash maps: what they make of the rest, jhash with one
 * seed for all words, then cannot be aimed either. */
static __always_inline __u64 hash_tuple(const struct addr *saddr, const struct addr *daddr, __u64 rest)
{
	const volatile __u64 *key = &hash_key[KEY_TUPLE];

	return hash_finish(hash_addr(saddr, key) + hash_addr(daddr, key + 4) + hash_word(rest, key + 8),
			   hash_key[KEY_TUPLE_FINISH]);
}

#endif
