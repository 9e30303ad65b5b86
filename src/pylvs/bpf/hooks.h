/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The two hooks at which a packet is met, XDP and TC, and the one place that checks bounds for both. Shared by the
 * director and the decapsulator of a real server. */
#ifndef PYLVS_HOOKS_H
#define PYLVS_HOOKS_H

#include "verifier.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>

enum hook { HOOK_XDP, HOOK_TC };

enum { L3 = sizeof(struct ethhdr) }; /* offset of the IP header: frames with a VLAN tag are not parsed */

/* `size` bytes of the frame at `offset`, or 0 if it has not so many there. An offset that is not a constant must be
 * below `limit`, a power of two. */
static __always_inline void *frame_at(void *ctx, enum hook hook, __u32 offset, __u32 size, __u32 limit)
{
	void *data, *end;

	if (hook == HOOK_XDP) {
		data = context_word(ctx, struct xdp_md, data);
		end = context_word(ctx, struct xdp_md, data_end);
	} else {
		data = context_word(ctx, struct __sk_buff, data);
		end = context_word(ctx, struct __sk_buff, data_end);
	}
	data += __builtin_constant_p(offset) ? offset : bounded(offset, limit - 1);
	__builtin_assume(data !=
			 0); /* else clang compares the result with 0 after each check of bounds, as its caller does */
	return data + size <= end ? data : 0;
}

#endif
