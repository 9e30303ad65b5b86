/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What makes clang write code that the verifier of any kernel follows. */
#ifndef PYLVS_VERIFIER_H
#define PYLVS_VERIFIER_H

/* A word of the context, read in one instruction: the verifier lets nobody read through `ctx + 76`, which clang
 * likes to keep in a register. */
#define context_word(ctx, type, member)                                                                                \
	({                                                                                                             \
		long word;                                                                                             \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(word) : "r"(ctx), "i"(__builtin_offsetof(type, member))); \
		(void *)word;                                                                                          \
	})

/* value & mask, where clang knows that the mask changes nothing but the verifier does not. */
static __always_inline __u32 bounded(__u32 value, __u32 mask)
{
	asm volatile("" : "+r"(value));
	return value & mask;
}

/* The same for a number of bytes, from 1 to `most`, a power of two: the verifier must see that it is not 0 (and before Linux 6.8
 * it does not see that from a comparison). */
static __always_inline __u32 bounded_nonzero(__u32 most, __u32 value)
{
	return bounded(value - 1, most - 1) + 1;
}

#endif
