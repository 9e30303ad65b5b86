/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Never queue: an idle destination if there is one, else the shortest expected delay. */
#ifndef PYLVS_SCHEDULERS_NQ_H
#define PYLVS_SCHEDULERS_NQ_H

#include "least_loaded.h"

static __always_inline __u32 nq_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	return least_loaded(service->first, LOAD_IDLE_FIRST);
}

#endif
