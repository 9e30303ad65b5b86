/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Headers of tunnels. Shared by the director, which writes them, and the decapsulator, which takes them off. */
#ifndef PYLVS_TUNNEL_H
#define PYLVS_TUNNEL_H

/* Generic UDP encapsulation (draft-ietf-intarea-gue), behind the UDP header. The kernel's struct guehdr is this. */
struct gue_header {
	__u8 variant_and_length; /* of the optional fields */
	__u8 protocol;
	__be16 flags;
};

/* RFC 2784. With GRE_CSUM a struct gre_checksum follows. */
struct gre_header {
	__be16 flags;
	__be16 protocol; /* an Ethernet type */
};

struct gre_checksum {
	__u16 check;
	__be16 reserved;
};

enum { GRE_CSUM = 0x8000 }; /* host order */

#endif
