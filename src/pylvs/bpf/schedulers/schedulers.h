/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The one list of schedulers: their files, and for each hook of common.h who has it. */
#ifndef PYLVS_SCHEDULERS_H
#define PYLVS_SCHEDULERS_H

#include "dh.h"
#include "fo.h"
#include "lblc.h"
#include "lblcr.h"
#include "lc.h"
#include "mh.h"
#include "nq.h"
#include "ovf.h"
#include "rr.h"
#include "sed.h"
#include "sh.h"
#include "twos.h"
#include "wlc.h"
#include "wrr.h"

/* The slot of the destination for a new flow, 0: none. */
__noinline __u32 schedule(struct flow *flow, __u32 slot)
{
	struct service *service = service_get(slot);

	if (!service || !flow)
		return 0;
	switch (service->scheduler) {
	case SCHED_RR: return rr_schedule(service, slot, flow);
	case SCHED_WRR: return wrr_schedule(service, slot, flow);
	case SCHED_LC: return lc_schedule(service, slot, flow);
	case SCHED_WLC: return wlc_schedule(service, slot, flow);
	case SCHED_LBLC: return lblc_schedule(service, slot, flow);
	case SCHED_LBLCR: return lblcr_schedule(service, slot, flow);
	case SCHED_DH: return dh_schedule(service, slot, flow);
	case SCHED_SH: return sh_schedule(service, slot, flow);
	case SCHED_MH: return mh_schedule(service, slot, flow);
	case SCHED_SED: return sed_schedule(service, slot, flow);
	case SCHED_NQ: return nq_schedule(service, slot, flow);
	case SCHED_FO: return fo_schedule(service, slot, flow);
	case SCHED_OVF: return ovf_schedule(service, slot, flow);
	case SCHED_TWOS: return twos_schedule(service, slot, flow);
	}
	return 0;
}

/* Whether the scheduler is a consistent hash itself, which chooses the same where the table has no room for an entry. */
static __always_inline int scheduler_is_consistent(struct service *service, __u32 slot, struct flow *flow,
						   __u32 *chosen)
{
	switch (service->scheduler) {
	case SCHED_MH: *chosen = mh_schedule(service, slot, flow); return 1;
	}
	return 0;
}

/* Lets a scheduler see the service's destinations anew; `fresh`: the service is about to have this scheduler. */
__noinline int scheduler_prepare(__u32 slot, __u32 scheduler, int fresh)
{
	struct service *service = service_get(slot);

	if (!service)
		return -1;
	switch (scheduler) {
	case SCHED_WRR: wrr_changed(service, slot, fresh); break;
	case SCHED_LBLC: lblc_changed(service, slot, fresh); break;
	case SCHED_LBLCR: lblcr_changed(service, slot, fresh); break;
	case SCHED_DH: dh_changed(service, slot, fresh); break;
	case SCHED_SH: sh_changed(service, slot, fresh); break;
	case SCHED_MH: mh_changed(service, slot, fresh); break;
	}
	return 0;
}

/* Lets the service's own scheduler see its destinations anew. */
static __always_inline void scheduler_changed(struct service *service, __u32 slot)
{
	scheduler_prepare(slot, service->scheduler, 0);
}

static __always_inline void scheduler_removed(struct service *service, __u32 removed, __u32 before)
{
	switch (service->scheduler) {
	case SCHED_RR: rr_removed(service, removed, before); break;
	}
}

/* Whether the scheduler must see its destinations anew because a setting was changed. */
static __always_inline int scheduler_outdated(struct service *service, __u32 slot)
{
	switch (service->scheduler) {
	case SCHED_MH: return mh_outdated(slot);
	}
	return 0;
}

/* Frees what the schedulers that a service has had keep for it: the service goes. */
static __always_inline void schedulers_free(__u32 slot)
{
	dh_ended(slot);
	sh_ended(slot);
	mh_ended(slot);
}

/* What the scheduler would choose; the cursor is put back. */
static __always_inline __u32 scheduler_preview(struct service *service, __u32 slot, struct flow *flow,
					       struct explain_args *args)
{
	__u64 cursor = service->cursor, moved;
	__u32 chosen;

	switch (service->scheduler) {
	case SCHED_LBLC: return lblc_preview(service, slot, flow, args);
	case SCHED_LBLCR: return lblcr_preview(service, slot, flow, args);
	case SCHED_TWOS: return twos_preview(service, slot, flow, args);
	}
	chosen = schedule(flow, slot);
	moved = *(volatile __u64 *)&service->cursor;
	if (moved != cursor)
		__sync_val_compare_and_swap(&service->cursor, moved, cursor);
	return chosen;
}

#endif
