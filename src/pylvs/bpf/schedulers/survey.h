/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Highest weight and greatest common divisor of a service's destinations, which wrr and mh need. */
#ifndef PYLVS_SCHEDULERS_SURVEY_H
#define PYLVS_SCHEDULERS_SURVEY_H

#include "common.h"

struct survey {
	__u32 slot;
	__s32 max_weight;
	__u32 gcd;             /* of weights that are not 0 */
	__s32 max_last_weight; /* the same of destination->last_weight */
	__u32 gcd_of_last;
};

enum { EUCLID_STEPS = 48 }; /* enough for 32 bits */

static __always_inline __u32 greatest_common_divisor(__u32 a, __u32 b)
{
	for (int i = 0; i < EUCLID_STEPS && b; i++) {
		__u32 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static long survey_visit(__u32 index, void *context)
{
	struct survey *survey = context;
	struct destination *destination = destination_get(survey->slot);

	if (!destination)
		return 1;
	survey->slot = destination->next;
	if (destination->weight > survey->max_weight)
		survey->max_weight = destination->weight;
	if (destination->weight > 0)
		survey->gcd =
			survey->gcd ? greatest_common_divisor(destination->weight, survey->gcd) : destination->weight;
	if (destination->last_weight > survey->max_last_weight)
		survey->max_last_weight = destination->last_weight;
	if (destination->last_weight > 0)
		survey->gcd_of_last = survey->gcd_of_last
					      ? greatest_common_divisor(destination->last_weight, survey->gcd_of_last)
					      : destination->last_weight;
	return !survey->slot;
}

static __always_inline struct survey survey_destinations(struct service *service)
{
	struct survey survey = {.slot = service->first};

	if (service->first)
		bpf_loop(DESTINATIONS_MAX, survey_visit, &survey, 0);
	return survey;
}

#endif
