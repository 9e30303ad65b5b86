/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Weighted least connections: the fewest for the weight. */
#ifndef PYLVS_SCHEDULERS_WLC_H
#define PYLVS_SCHEDULERS_WLC_H

#include "least_loaded.h"

static __always_inline __u32 wlc_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	return least_loaded(service->first, LOAD_OVERHEAD);
}

#endif
