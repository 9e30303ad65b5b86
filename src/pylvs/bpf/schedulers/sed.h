/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Shortest expected delay: (active + 1) / weight. */
#ifndef PYLVS_SCHEDULERS_SED_H
#define PYLVS_SCHEDULERS_SED_H

#include "common.h"

static __always_inline __u32 sed_schedule(struct service *service)
{
	return least_loaded(service->first, LOAD_DELAY);
}

#endif
