/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What the data plane and Python share. Python reads these layouts from BTF: a struct here has no hole,
 * and every enum is kept alive by `struct abi` at the end. Ticks are units of time: 1/settings.hz second. */
#ifndef PYLVS_ABI_H
#define PYLVS_ABI_H

/* One more whenever anything below changes: a command of another version must not write into a loaded data plane. */
enum abi_version { ABI_VERSION = 7 };

/* An address as it is on the wire; IPv4 is mapped (::ffff:a.b.c.d), so that one code serves both. */
struct addr {
	__u64 high;
	__u64 low;
};

enum protocol {
	PROTO_NONE = 0,
	PROTO_ICMP = 1,
	PROTO_IPIP = 4,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_IPV6 = 41,
	PROTO_GRE = 47,
	PROTO_ICMPV6 = 58,
	PROTO_SCTP = 132
};

enum method { METHOD_NAT = 0, METHOD_DR, METHOD_TUN, METHOD_FULLNAT };

enum tunnel { TUNNEL_IPIP = 0, TUNNEL_GUE, TUNNEL_GRE };

enum tunnel_flag { TUNNEL_CSUM = 1, TUNNEL_REMCSUM = 2 };

enum scheduler {
	SCHED_RR = 0,
	SCHED_WRR,
	SCHED_LC,
	SCHED_WLC,
	SCHED_LBLC,
	SCHED_LBLCR,
	SCHED_DH,
	SCHED_SH,
	SCHED_MH,
	SCHED_SED,
	SCHED_NQ,
	SCHED_FO,
	SCHED_OVF,
	SCHED_TWOS,
	SCHED_NONE
};

enum tcp_state {
	TCP_NONE = 0,
	TCP_ESTABLISHED,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_SYNACK,
	TCP_STATES
};

enum udp_state { UDP_NORMAL = 0, UDP_STATES };

enum sctp_state {
	SCTP_NONE = 0,
	SCTP_INIT1,
	SCTP_INIT,
	SCTP_COOKIE_SENT,
	SCTP_COOKIE_REPLIED,
	SCTP_COOKIE_WAIT,
	SCTP_COOKIE,
	SCTP_COOKIE_ECHOED,
	SCTP_ESTABLISHED,
	SCTP_SHUTDOWN_SENT,
	SCTP_SHUTDOWN_RECEIVED,
	SCTP_SHUTDOWN_ACK_SENT,
	SCTP_REJECTED,
	SCTP_CLOSED,
	SCTP_STATES
};

/* Room for the states of any protocol: a power of two, for the verifier. */
enum states { STATES = 16 };

enum template_state { TEMPLATE_NONE = 0, TEMPLATE_ASSURED };

/* The same bits as IP_VS_SVC_F_* of linux/ip_vs.h. */
enum service_flag { SERVICE_PERSISTENT = 1, SERVICE_ONE_PACKET = 4, SERVICE_FALLBACK = 8, SERVICE_PORT = 16 };

enum destination_flag { DEST_AVAILABLE = 1, DEST_OVERLOAD = 2 };

enum connection_flag {
	CONN_TEMPLATE = 1,
	CONN_INACTIVE = 2,  /* counted as inactive at its destination */
	CONN_NO_OUTPUT = 4, /* replies do not pass the director */
	CONN_INVALID = 8,   /* a template whose destination went: listed with port 65535, never found */
	CONN_HASHED = 16,   /* chosen by consistent hash: losing the entry does not move the flow */
	CONN_AWAY =
		32, /* this and the next bit: how many full table_buckets it passed, its home first; each counts it */
};

/* What became of a packet. The names are what `pylvs status` prints; the groups say whether it is normal. */
enum outcome {
	/* passed to the host, untouched */
	PASS_NOT_IP = 0,
	PASS_NOT_OURS,      /* no virtual service, no connection */
	PASS_NO_CONNECTION, /* for a service, but it does not open a connection: the host answers RST */
	PASS_MALFORMED,     /* the host's stack judges it */
	PASS_LOCAL,         /* the destination is this host */
	PASS_TO_TC,         /* XDP leaves it to the TC hook */
	PASS_VLAN,          /* tagged: comes again on the VLAN's own interface */
	PASS_TTL,           /* a reply at its last hop: the host answers */
	PASS_BYPASS,        /* no destination, and cache_bypass: on to where it was going */
	/* forwarded */
	FORWARD_DR,
	FORWARD_NAT,
	FORWARD_NAT_REPLY,
	FORWARD_TUN,
	FORWARD_FULLNAT,
	FORWARD_FULLNAT_REPLY,
	FORWARD_ICMP,
	FORWARD_STATELESS, /* the table is full here: by consistent hash, without an entry */
	FORWARD_TO_HOST,   /* what a real server that has the VIP answers to a client on this host */
	FORWARD_CUT, /* too big for its way: its pieces come in anew, each counted as what becomes of it; or itself does */
	/* answered by the director */
	REFUSE_NO_DESTINATION, /* ICMP port unreachable */
	REFUSE_NO_ROUTE,       /* ICMP host unreachable: no route to the destination, or no answer to ARP for 3 s */
	REFUSE_TTL,            /* ICMP time exceeded */
	REFUSE_TOO_BIG,        /* ICMP fragmentation needed */
	/* dropped */
	DROP_DESTINATION_GONE, /* its destination was deleted while it lived */
	DROP_NO_ROUTE,
	DROP_ICMP_LIMIT, /* would have been refused, but too many were */
	DROP_UNANSWERED, /* the same, but it is an ICMP error or a later fragment, which nobody answers */
	DROP_FRAGMENT,   /* a later fragment without its first, or SCTP's first whose port would change */
	DROP_NO_ENTRY,   /* the table is full and the method needs an entry */
	DROP_NO_PORT,    /* FULLNAT: all local ports are taken */
	DROP_IN_TURN,    /* drop_packet: it would have opened a connection */
	DROP_ERROR,      /* a helper failed */
	OUTCOMES,
};

/* The one record of settings, written by Python. Times in ticks. */
struct settings {
	__u32 services; /* 0: nothing is for us, as in IPVS */
	__u32 fwmark_services;
	__u32 port_zero_services;
	__u32 first_retired; /* allocator of records, used by Python only: those not used any more, the oldest first … */
	__u32 next_record;   /* … and the first that never was used */
	__u32 second;        /* ticks a second */
	__u32 table_pressed; /* tick of the last overflow of a set, 0: never */
	__u32 conn_reuse_mode;
	__u32 expire_nodest_conn;
	__u32 expire_quiescent_template;
	__u32 sloppy_tcp;
	__u32 sloppy_sctp;
	__u32 secure_tcp;
	__u32 pmtu_disc;
	__u32 clamp_mss;
	__u32 cache_bypass;
	__u32 mark_rules;    /* first rule in use << 16 | how many: one word, changed at once */
	__u32 icmp_rate;     /* errors a second, 0: no limit */
	__u32 next_local;    /* allocator of `local_addresses`, used by Python only */
	__u32 trashed;       /* how many destinations are in the trash, used by Python only */
	__u32 trace;         /* tick until which packets are traced (trace.h), 0: they are not */
	__u32 redirect_back; /* XDP sends back by redirect, not XDP_TX: a device here is veth */
	__u32 last_retired;
	__u32 schedule_icmp;
	__u32 drop_packet;
	__u32 am_droprate;
	__u32 drop_countdown; /* packets until the next that drop_packet drops */
	__u32 amemthresh;     /* this and the next are for `pylvs get`: memory is never short */
	__u32 drop_entry;
	__u32 generation;          /* of the table: odd while a command changes it, two more after it */
	__u32 tcp_timeout[STATES]; /* by tcp_state */
	__u32 udp_timeout[STATES];
	__u32 sctp_timeout[STATES];
};

/* Which addresses matter at all: a bit per hash of a VIP, or of a NAT destination. Bits are only ever set. */
enum filter_size { FILTER_BITS = 1 << 16 };
struct filter {
	__u64 word[FILTER_BITS / 64];
};

struct service_key {
	struct addr address; /* zero for a firewall mark */
	__be16 port;
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u32 fwmark;
};

/* A virtual service and a destination are records of one size, in chunks; their number is their slot, 0 is none and has
 * the totals. Destinations of deleted services belong to one that nobody sees. Behind a record is a line for each CPU,
 * with what that CPU has counted there. */
enum record_size { CHUNK = 2048, CHUNKS = 512, RECORD_SIZE = 128, CPU_LINE = 64 };
enum slot { SLOT_TOTALS, SLOT_DELETED, SLOT_FIRST };

struct service {
	__u32 first; /* slot of the newest destination */
	__u32 destinations;
	__u32 scheduler;
	__u32 flags;
	struct addr address;
	struct addr netmask;
	__u32 fwmark;
	__u32 timeout; /* of persistence, ticks */
	__be16 port;
	__u8 protocol;
	__u8 family;
	__u32 timeout_seconds; /* the same, as it was given */
	__u64 cursor;          /* rr, wrr: slot << 32 | current weight; one word, so that it moves at once */
	__u32 max_weight;      /* wrr */
	__u32 gcd;             /* wrr */
	__u32 generation;      /* changes with every change of the destinations */
	__u32 pe;              /* persistence engine: 1 sip (as recorded by the command; never consulted) */
	__u32 spare[10];
};

struct destination {
	__u32 next; /* slot of the next older destination of the service */
	__u32 service;
	__s32 weight;
	__u32 flags;
	__s32 active;
	__s32 inactive;
	__s32 persistent;
	__u32 upper;
	__u32 lower;
	__be16 port;
	__u8 method;
	__u8 tunnel;
	struct addr address;
	/* next hop, refreshed by the TC hook at least once a second */
	__u32 checked;     /* tick, 0: never */
	__u32 ifindex;     /* 0: not known */
	__u8 neighbour[6]; /* all zero: not resolved yet */
	__u8 own[6];       /* as long as there is no neighbour: since when it is asked for, a tick */
	__u16 mtu;         /* of the path, 0: not known */
	__be16 tunnel_port;
	struct addr gateway;
	struct addr source; /* TUN: the outer header's */
	__u8 tunnel_flags;
	__u8 local; /* an address of this host */
	__u8 family;
	__u8 locals;       /* FULLNAT: how many local addresses */
	__u32 next_port;   /* FULLNAT: where to look for a free port */
	__u32 local_first; /* FULLNAT: index of the first in `local_addresses` */
	__s32 last_weight; /* the last that was not 0, or the first: what mh goes by */
};

/* A record that is not used any more, until packets on their way are through. What they look at is left alone. */
struct retired {
	__u8 left_alone[116];
	__u32 next; /* slot of the one that was retired next */
	__u32 tick; /* when */
	__u32 was_service;
};

struct connection {
	__u32 tag;     /* hash of client and port; 0 free, 1 being changed */
	__u32 expires; /* tick */
	struct addr client;
	struct addr virtual;
	__be16 cport;
	__be16 vport;
	__u32 destination; /* slot */
	__u32 control;     /* number of its template, 0 none; in a template: how many it controls */
	__be16 rport;
	__u8 state;
	__u8 protocol;
	__u8 flags;
	__u8 method;
	__be16 lport; /* FULLNAT; in a template: 0 */
	__u32 timeout; /* of a template, ticks; FULLNAT: index of the local address; NAT: next hop of replies (forward.h) */
};

enum bucket_size { WAYS = 8 };
struct connection_bucket {
	struct connection way[WAYS];
};

struct counters {
	__u64 connections;
	__u64 in_packets;
	__u64 out_packets;
	__u64 in_bytes;
	__u64 out_bytes;
};

/* The kernel's estimator (net/netfilter/ipvs/ip_vs_est.c): averages scaled by 2^10, bytes by 2^5. */
struct estimate {
	struct counters total;   /* of a destination, a service, or (slot 0) all; see fold.h */
	struct counters sampled; /* the total at the last average */
	struct counters average;
	struct counters base; /* the total when the counters were last zeroed */
};

/* The argument of the `control` programs. */
enum control {
	CONTROL_NOW = 0,
	CONTROL_LINK,
	CONTROL_UNLINK,
	CONTROL_CHANGED,
	CONTROL_RESCHEDULE,
	CONTROL_END,
	CONTROL_FOLD,
	CONTROL_SWEEP
};
struct control_args {
	__u32 operation;
	__u32 service;
	__u32 destination;
	__s32 result;
	__u32 now; /* out: tick */
};

/* `pylvs mark`: packets like this have this firewall mark. The most specific rules come first. */
enum mark_size { MARK_RULES = 1024 }; /* twice as many as there can be: the new ones are written beside the old */
struct mark_rule {
	struct addr address;
	struct addr mask;
	__u16 first_port; /* host order */
	__u16 last_port;
	__u32 mark;
	__u8 protocol; /* 0: any */
	__u8 spare[7];
};

/* `pylvs trace`: which packets it wants. Written by Python; masks of zero, ports and numbers of 0 match everything. */
struct trace_filter {
	struct addr client;
	struct addr client_mask;
	struct addr virtual;
	struct addr virtual_mask;
	struct addr real;
	struct addr real_mask;
	__be16 vport;
	__be16 rport;
	__u32 outcomes; /* a bit for each */
	__u32 opening;  /* the same, of packets that open a connection */
	__u32 rate;     /* records a second and CPU */
	__u32 protocol;
	__u32 spare;
};

enum trace_flag {
	TRACE_NEW = 1,       /* this packet opened the connection, or was scheduled without one */
	TRACE_KNOWN = 2,     /* it belongs to a connection, which was looked up after the packet had its effect */
	TRACE_REPLY = 4,     /* from a real server's side */
	TRACE_PERSISTENT = 8 /* the connection has a template */
};

/* One packet, before and after. */
enum trace_size { TRACE_SNAP = 256 };
struct trace_record {
	__u64 time; /* ns, as CLOCK_MONOTONIC has them */
	struct addr client;
	struct addr virtual;
	struct addr real;
	__be16 cport;
	__be16 vport;
	__be16 rport;
	__u8 hook; /* 0 XDP, 1 TC */
	__u8 outcome;
	__u8 protocol;
	__u8 family;
	__u8 flags; /* of trace_flag */
	__u8 method;
	__u8 state;
	__u8 event;
	__u16 spare;
	__u32 service; /* slots */
	__u32 destination;
	__u32 ifindex;   /* in */
	__u32 out;       /* ifindex; 0: not known */
	__u32 length;    /* bytes of the frame as it came, of which `before` has the first */
	__u32 left;      /* bytes as it leaves */
	struct addr hop; /* next hop, zero: not known */
	__u8 before[TRACE_SNAP];
	__u8 after[TRACE_SNAP];
};

/* `pylvs trace --explain`: what would become of a flow's first packet. The flow goes in, the rest comes out. */
struct explain_args {
	struct addr client;
	struct addr virtual;
	__be16 cport;
	__be16 vport;
	__u8 protocol;
	__u8 family;
	__u16 spare;
	__u32 mark; /* netfilter's, 0: none; out: the one that counts */
	__u32 service;
	__u32 connection; /* number + 1 */
	__u32 template;   /* number + 1 */
	__u32 destination;
	__u32 consistent; /* slot that the consistent hash gives, which counts where the table is full */
	__u32 pressed;
	__u32 now;
};

/* Brings the enums into BTF, which keeps only what a variable has. */
struct abi {
	enum abi_version abi_version;
	enum protocol protocol;
	enum method method;
	enum tunnel tunnel;
	enum tunnel_flag tunnel_flag;
	enum scheduler scheduler;
	enum tcp_state tcp_state;
	enum udp_state udp_state;
	enum sctp_state sctp_state;
	enum template_state template_state;
	enum service_flag service_flag;
	enum destination_flag destination_flag;
	enum connection_flag connection_flag;
	enum outcome outcome;
	enum control control;
	enum filter_size filter_size;
	enum record_size record_size;
	enum slot slot;
	enum mark_size mark_size;
	enum bucket_size bucket_size;
	enum states states;
	enum trace_flag trace_flag;
	enum trace_size trace_size;
	struct service service;
	struct destination destination;
	struct retired retired;
	struct estimate estimate;
	struct control_args control_args;
	struct trace_record trace_record;
	struct explain_args explain_args;
};

#endif
