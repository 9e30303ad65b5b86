/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Shortest expected delay: (active + 1) / weight. */
#ifndef PYLVS_SCHEDULERS_SED_H
#define PYLVS_SCHEDULERS_SED_H

#include "least_loaded.h"

static __always_inline __u32 sed_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	return least_loaded(service->first, LOAD_DELAY);
}

#endif
