/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* The verifier refuses this: it reads the packet without looking where it ends. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int director_xdp(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->data;
}

char licence[] SEC("license") = "GPL";
