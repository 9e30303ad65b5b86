/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Overflow: the highest weight until it has more active connections than weight, then the next. */
#ifndef PYLVS_SCHEDULERS_OVF_H
#define PYLVS_SCHEDULERS_OVF_H

#include "fo.h"

static __always_inline __u32 ovf_schedule(struct service *service)
{
	struct heaviest heaviest = {.slot = service->first, .spill = 1};

	bpf_loop(DESTINATIONS_MAX, heaviest_visit, &heaviest, 0);
	return heaviest.best;
}

#endif
