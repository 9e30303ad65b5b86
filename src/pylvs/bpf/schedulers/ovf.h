/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Overflow: the highest weight until it has more active connections than weight, then the next. */
#ifndef PYLVS_SCHEDULERS_OVF_H
#define PYLVS_SCHEDULERS_OVF_H

#include "heaviest.h"

static __always_inline __u32 ovf_schedule(struct service *service, __u32 slot, struct flow *flow)
{
	return heaviest_usable(service, 1);
}

#endif
