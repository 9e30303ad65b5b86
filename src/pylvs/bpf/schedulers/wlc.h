/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Weighted least connections. */
#ifndef PYLVS_SCHEDULERS_WLC_H
#define PYLVS_SCHEDULERS_WLC_H

#include "common.h"

static __always_inline __u32 wlc_schedule(struct service *service)
{
	return least_loaded(service->first, LOAD_OVERHEAD);
}

#endif
