/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The interface of a scheduler. NAME.h is all of scheduler NAME: how it chooses, what a change of its destinations
 * does to it, what it remembers, and what is freed when it ends.
 *
 * It has
 *	__u32 NAME_schedule(struct service *service, __u32 slot, struct flow *flow)
 *		the slot of the destination for a new flow of the service in `slot`, 0 if there is none
 * and, if it needs them, hooks that run in the program `control`, while packets go on being scheduled:
 *	void NAME_changed(struct service *service, __u32 slot, int fresh)
 *		destinations were added, removed or changed; `fresh`: the service is about to have this scheduler, and still
 *		has another one, by which packets go meanwhile
 *	void NAME_removed(struct service *service, __u32 removed, __u32 before)
 *		a destination has just left the list, where it followed the one in `before` (0: it was the first)
 *	int NAME_outdated(__u32 slot)
 *		whether NAME_changed must run because a setting was changed
 *	void NAME_ended(__u32 slot)
 *		the service is deleted, and has had this scheduler or not
 * and in the program `explain`:
 *	__u32 NAME_preview(struct service *service, __u32 slot, struct flow *flow, struct explain_args *args)
 *		what NAME_schedule would choose, if asking that would change more than service->cursor
 * Each is named in schedulers.h, and nowhere else; so is a scheduler that is a consistent hash. The list of
 * destinations starts at service->first and goes from the newest to the oldest. A map that only schedulers use is
 * declared with them. */
#ifndef PYLVS_SCHEDULERS_COMMON_H
#define PYLVS_SCHEDULERS_COMMON_H

#include "../packet.h"

static __always_inline int is_usable(const struct destination *destination)
{
	return destination->weight > 0 && !(destination->flags & DEST_OVERLOAD);
}

static __always_inline __u32 usable_or_none(__u32 slot)
{
	struct destination *destination = destination_get(slot);

	return slot && destination && is_usable(destination) ? slot : 0;
}

/* An active connection costs 256 times an inactive one (ip_vs_dest_conn_overhead()). */
static __always_inline __s64 connection_overhead(const struct destination *destination)
{
	return ((__s64)destination->active << 8) + destination->inactive;
}

#endif
