/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What clang and the verifier of any kernel from Linux 6.1 on need to understand each other. */
#ifndef PYLVS_VERIFIER_H
#define PYLVS_VERIFIER_H

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A word of the context, read in one instruction. Clang likes to keep `ctx + 76` in a register and to read through
 * that; the verifier then says "dereference of modified ctx ptr R1 off=76 disallowed". */
#define context_word(ctx, type, member)                                                                                \
	({                                                                                                             \
		long word;                                                                                             \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(word) : "r"(ctx), "i"(__builtin_offsetof(type, member))); \
		(void *)word;                                                                                          \
	})

/* value & mask, where the mask changes nothing. Clang knows that and would leave it out; the verifier does not, and
 * says "R1 unbounded memory access, make sure to bounds check any such access". */
static __always_inline __u32 bounded(__u32 value, __u32 mask)
{
	asm volatile("" : "+r"(value));
	return value & mask;
}

/* A number of bytes for a helper, from 1 to `max`, a power of two. The verifier must see that it is not 0, else it says
 * "R4 invalid zero-sized read"; and before Linux 6.8 it does not see that from a comparison with 0. */
static __always_inline __u32 bounded_nonzero(__u32 max, __u32 value)
{
	return bounded(value - 1, max - 1) + 1;
}

#endif
