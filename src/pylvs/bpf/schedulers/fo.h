/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Weighted failover: all to the usable destination of the highest weight; of equals, the newest. */
#ifndef PYLVS_SCHEDULERS_FO_H
#define PYLVS_SCHEDULERS_FO_H

#include "heaviest.h"

static __always_inline __u32 fo_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	return heaviest_usable(service, 0);
}

#endif
