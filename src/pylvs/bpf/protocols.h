/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Protocol numbers and headers under the kernel's names, where linux/ (the UAPI) has none or needs the C library's. */
#ifndef PYLVS_PROTOCOLS_H
#define PYLVS_PROTOCOLS_H

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

/* linux/socket.h of the kernel. */
enum { AF_INET = 2, AF_INET6 = 10 };

/* net/ip.h of the kernel: flags and offset of `frag_off`. The offset counts units of 8 bytes. */
enum { IP_DF = 0x4000, IP_MF = 0x2000, IP_OFFSET = 0x1fff, FRAGMENT_UNIT = 8 };

/* net/ipv6.h of the kernel: the offset in a fragment header, RFC 8200, section 4.5. */
enum { IP6_OFFSET = 0xfff8, IP6_FRAGMENT_HEADER = 8 };

/* net/inet_ecn.h of the kernel: the low two bits of TOS and traffic class (RFC 3168). */
enum { INET_ECN_NOT_ECT = 0, INET_ECN_CE = 3, INET_ECN_MASK = 3 };

/* First byte of an IPv4 header without options: version 4, five words. */
enum { IPV4_NO_OPTIONS = 0x45 };

/* The largest IP packet, and the smallest MTU that a link may have (RFC 791). */
enum { IP_LENGTH_MAX = 65535, IPV4_MIN_MTU = 68 };

/* RFC 792 and RFC 4443. linux/icmp.h has these, and needs sys/socket.h. */
enum { ICMP_DEST_UNREACH = 3, ICMP_SOURCE_QUENCH = 4, ICMP_TIME_EXCEEDED = 11 };
enum { ICMP_HOST_UNREACH = 1, ICMP_PORT_UNREACH = 3, ICMP_FRAG_NEEDED = 4, ICMP_EXC_TTL = 0 };
enum { ICMPV6_DEST_UNREACH = 1, ICMPV6_PKT_TOOBIG = 2, ICMPV6_TIME_EXCEED = 3, ICMPV6_PARAMPROB = 4 };
enum { ICMPV6_ADDR_UNREACH = 3, ICMPV6_PORT_UNREACH = 4, ICMPV6_EXC_HOPLIMIT = 0 };

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 word[2]; /* IPv4: unused and MTU; IPv6: both are the MTU */
};

/* What TCP, UDP and SCTP begin with. */
struct ports {
	__be16 source;
	__be16 dest;
};

/* An IPv6 extension header, as far as they are alike; `offset` and `id` are a fragment header's. */
struct extension {
	__u8 next;
	__u8 length;
	__be16 offset;
	__be32 id;
};

/* RFC 9260: the common header and the first chunk's. */
struct sctp_header {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 checksum;
	__u8 chunk;
	__u8 chunk_flags;
	__be16 chunk_length;
};
enum { SCTP_COMMON_HEADER = 12, SCTP_CHUNK_HEADER = 4 };

#endif
