/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Least connections: the fewest, whatever the weight (if it is not 0). */
#ifndef PYLVS_SCHEDULERS_LC_H
#define PYLVS_SCHEDULERS_LC_H

#include "least_loaded.h"

static __always_inline __u32 lc_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	return least_loaded(service->first, LOAD_UNWEIGHTED);
}

#endif
