/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Addresses of both families as one type, so that the same code serves both. */
#ifndef PYLVS_ADDR_H
#define PYLVS_ADDR_H

/* An address in network order; IPv4 is mapped (::ffff:a.b.c.d, RFC 4291, section 2.5.5.2). */
struct addr {
	__u64 high;
	__u64 low;
};

static __always_inline void addr_from_v4(struct addr *addr, __be32 v4)
{
	addr->high = 0;
	addr->low = (__u64)v4 << 32 | 0xffff0000ULL;
}

static __always_inline __be32 addr_v4(const struct addr *addr)
{
	return addr->low >> 32;
}

static __always_inline int addr_is_v4(const struct addr *addr)
{
	return !addr->high && (__u32)addr->low == 0xffff0000U;
}

static __always_inline int addr_equal(const struct addr *a, const struct addr *b)
{
	return a->low == b->low && a->high == b->high;
}

/* Whether it is the unspecified address, of either family. */
static __always_inline int addr_is_zero(const struct addr *addr)
{
	return !(addr->high | addr->low >> 32);
}

/* IPv6's four words folded into one, IPv4 as it is: what the kernel's hashing schedulers hash. Network order. */
static __always_inline __be32 addr_fold(const struct addr *addr)
{
	if (addr_is_v4(addr))
		return addr_v4(addr);
	return (__u32)addr->high ^ (__u32)(addr->high >> 32) ^ (__u32)addr->low ^ (__u32)(addr->low >> 32);
}

#endif
