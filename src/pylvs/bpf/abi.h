/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What the data plane shares with Python: the values, layouts, sizes and flags of everything that both read or write.
 *
 * Python types none of it twice, it reads BTF. So everything here is an enum or a struct, since a #define does not
 * reach BTF; each is named in `struct abi` at the end, since BTF keeps only what a variable has; and no struct has a
 * hole. Times are in ticks, settings.second of them a second; ports, where they are __be16, in network order. */
#ifndef PYLVS_ABI_H
#define PYLVS_ABI_H

#include "addr.h"
#include "hooks.h"

/* Incremented with every change below: a command of another version must not write into a loaded data plane. */
enum abi_version { ABI_VERSION = 8 };

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

enum tunnel_flag { TUNNEL_NOCSUM = 0, TUNNEL_CSUM = 1, TUNNEL_REMCSUM = 2 };

/* In the order of ipvsadm's --pe. It is listed, and never consulted. */
enum persistence_engine { PE_NONE = 0, PE_SIP };

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

/* Room for the states of any protocol: a power of two, so that a mask bounds an index (verifier.h). */
enum states { STATES = 16 };

enum template_state { TEMPLATE_NONE = 0, TEMPLATE_ASSURED };

/* The same bits as IP_VS_SVC_F_* of linux/ip_vs.h. */
enum service_flag { SERVICE_PERSISTENT = 1, SERVICE_ONE_PACKET = 4, SERVICE_FALLBACK = 8, SERVICE_PORT = 16 };

enum destination_flag { DEST_AVAILABLE = 1, DEST_OVERLOAD = 2 };

enum connection_flag {
	CONN_TEMPLATE = 1,      /* a persistence template */
	CONN_INACTIVE = 2,      /* counted as inactive at its destination */
	CONN_NO_OUTPUT = 4,     /* replies do not pass the director */
	CONN_INVALID = 8,       /* a template whose destination was deleted: listed with port 65535, never found */
	CONN_HASHED = 16,       /* chosen by consistent hash: evicting the entry does not move the flow */
	CONN_OVERFLOW = 3 << 5, /* how many full buckets were probed first; see overflow_of() of table.h */
};

/* Names that `pylvs outcomes` prints and docs/json.md promises. The groups say whether an outcome is normal. */
enum outcome {
	/* passed to the host, unchanged */
	PASS_NOT_IP = 0,
	PASS_NOT_OURS,      /* no virtual service, no connection */
	PASS_NO_CONNECTION, /* to a service, but it does not open a connection: the host answers RST */
	PASS_MALFORMED,     /* the host's stack judges it */
	PASS_LOCAL,         /* the destination is this host */
	PASS_TO_TC,         /* XDP leaves it to the TC hook */
	PASS_VLAN,          /* tagged: received again on the VLAN's own interface */
	PASS_TTL,           /* a reply whose TTL expires here: the host answers */
	PASS_BYPASS,        /* no destination, and cache_bypass: forwarded to its own destination address */
	/* forwarded */
	FORWARD_DR,
	FORWARD_NAT,
	FORWARD_NAT_REPLY,
	FORWARD_TUN,
	FORWARD_FULLNAT,
	FORWARD_FULLNAT_REPLY,
	FORWARD_ICMP,
	FORWARD_STATELESS, /* the table is full here: by consistent hash, without an entry */
	FORWARD_TO_HOST,   /* direct server return to a client on this host */
	FORWARD_CUT,       /* fragmented, or re-injected whole: what comes in again is counted as what becomes of it */
	/* refused: the director generates an ICMP error */
	REFUSE_NO_DESTINATION, /* port unreachable */
	REFUSE_NO_ROUTE,       /* host unreachable: no route to the destination, or no reply to ARP for 3 s */
	REFUSE_TTL,            /* time exceeded */
	REFUSE_TOO_BIG,        /* fragmentation needed */
	/* dropped */
	DROP_DESTINATION_GONE, /* its destination was deleted while the connection lived */
	DROP_NO_ROUTE,
	DROP_ICMP_LIMIT, /* would have been refused, but the rate limit of ICMP errors was reached */
	DROP_UNANSWERED, /* would have been refused, but is an ICMP error or a later fragment (RFC 1122, 3.2.2) */
	DROP_FRAGMENT,   /* a later fragment without its first, or SCTP's first whose port would change */
	DROP_NO_ENTRY,   /* the table is full and the method needs an entry */
	DROP_NO_PORT,    /* FULLNAT: all local ports are taken */
	DROP_IN_TURN,    /* drop_packet: it would have opened a connection */
	DROP_ERROR,      /* a helper failed */
	OUTCOMES,        /* how many there are; functions return it to say that none is decided yet */
};

/* Of drop_packet, drop_entry and secure_tcp: 1 and 2 mean while memory is short, which it never is here. */
enum defence { DEFENCE_NEVER = 0, DEFENCE_ALWAYS = 3 };

/* How many secrets of 64 bits there are: of the hashes of hash.h, and of the address filter. */
enum key_count { HASH_KEYS = 27, FILTER_KEYS = 4 };

/* The one record of settings, written by Python. Times in ticks. */
struct settings {
	__u64 filter_key[FILTER_KEYS]; /* random, never changed */
	__u32 services;                /* 0: no packet is looked at, as in IPVS */
	__u32 fwmark_services;
	__u32 port_zero_services;
	__u32 first_retired; /* allocator of records, used by Python only: the oldest of those retired … */
	__u32 next_record;   /* … and the first that was never used */
	__u32 second;        /* ticks a second */
	__u32 table_pressed; /* tick when a new flow last found its candidate buckets full, 0: never */
	__u32 conn_reuse_mode;
	__u32 expire_nodest_conn;
	__u32 expire_quiescent_template;
	__u32 sloppy_tcp;
	__u32 sloppy_sctp;
	__u32 secure_tcp;
	__u32 pmtu_disc;
	__u32 clamp_mss;
	__u32 cache_bypass;
	__u32 mark_rules;    /* first rule in use << 16 | how many: one word, so that both change at once */
	__u32 icmp_rate;     /* ICMP errors a second and CPU, 0: no limit */
	__u32 next_local;    /* allocator of `local_addresses`, used by Python only */
	__u32 trashed;       /* how many destinations are in the trash, used by Python only */
	__u32 trace;         /* tick until which packets are traced (trace.h), 0: they are not */
	__u32 redirect_back; /* XDP sends back by redirect, not XDP_TX: an interface here is veth */
	__u32 last_retired;  /* used by Python only */
	__u32 schedule_icmp;
	__u32 drop_packet;
	__u32 am_droprate;
	__u32 drop_countdown; /* packets until the next that drop_packet drops */
	__u32 amemthresh;     /* this and the next are for `pylvs get`: the table never runs out of memory */
	__u32 drop_entry;
	__u32 generation;          /* of the table: odd while a command changes it, two more after it */
	__u32 tcp_timeout[STATES]; /* by tcp_state */
	__u32 udp_timeout[STATES];
	__u32 sctp_timeout[STATES];
};

/* A Bloom filter with one hash: a bit for each VIP, and for each real server that NAT's replies come from. It tells
 * packets that are not ours without a lookup. Bits are only ever set. The bit of an address is the upper 16 bits of hash_addr()
 * (hash.h) with the keys in the settings, exclusive or the kind. */
enum filter_size { FILTER_BITS = 1 << 16 };
enum filter_hash { FILTER_SHIFT = 48 };
enum filter_kind { FILTER_VIP = 0, FILTER_RIP = 0x5bd1 };
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

/* A virtual service and a destination are records of one size, in chunks. A record's number is its slot. Slot 0 stands
 * for none and has the totals; slot 1 is the service of destinations whose own service was deleted. Behind a record is
 * one cache line for each possible CPU, with what that CPU counted there. */
enum record_size { CHUNK = 2048, CHUNKS = 512, RECORD_SIZE = 128, CPU_LINE = 64 };
enum slot { SLOT_TOTALS, SLOT_DELETED, SLOT_FIRST };
enum limit { DESTINATIONS_MAX = 1024, LOCALS_MAX = 4096 }; /* of one service; addresses of FULLNAT in all */

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
	__u32 timeout_seconds; /* of persistence, as it was given */
	__u64 cursor;          /* rr, wrr: slot << 32 | current weight; one word, so that both change at once */
	__u32 max_weight;      /* wrr */
	__u32 gcd;             /* wrr */
	__u32 generation;      /* changes with every change of the destinations */
	__u32 pe;              /* of persistence_engine */
	__u32 locality;        /* lblc, lblcr: part of the key of what they remember, another for each use of them */
	__u32 spare[9];
};

/* Since when a neighbour's MAC address is asked for. */
struct unresolved {
	__u32 since; /* tick, 0: it is not */
	__u16 spare;
} __attribute__((packed));

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
	__u8 neighbour[6]; /* MAC address; all zero: not resolved yet */
	union {
		__u8 own[6];                  /* with a neighbour: our MAC address towards it */
		struct unresolved unresolved; /* without one */
	};
	__u16 mtu; /* of the path, 0: not known */
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

/* A record that is no longer used, in a queue until packets in flight have left. What they read is left alone. */
struct retired {
	__u8 left_alone[116];
	__u32 next; /* slot of the one that was retired next */
	__u32 tick; /* when */
	__u32 was_service;
};

/* Tags of an entry: its state, or a hash of client address, port and protocol. */
enum tag { TAG_FREE = 0, TAG_BUSY = 1, TAG_FIRST = 2 };

/* An entry. The first eight bytes are one word: compare-and-swap of it decides what becomes of the entry, and so what is
 * counted at its destination (`union entry_word` of table.h). */
struct connection {
	__u32 tag;
	__u8 state;
	__u8 flags;
	__u8 protocol;
	__u8 method;
	struct addr client;
	struct addr virtual;
	__be16 cport;
	__be16 vport;
	__u32 destination; /* slot */
	__u32 control;     /* number + 1 of its template, 0 none; in a template: how many it controls */
	__u32 expires;     /* tick */
	__be16 rport;
	__be16 lport; /* FULLNAT */
	union {
		__u32 timeout;   /* template: of persistence, ticks */
		__u32 local;     /* FULLNAT: index of its local address */
		__u32 reply_hop; /* NAT: the next hop of replies, see reply_hop_word() of forward.h */
	};
};

/* The connection table is set-associative: an array of buckets, each with the same number of ways. */
enum bucket_size { WAYS = 8, CONNECTION_SIZE = 64 };
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

/* What the program `control` does, and its argument. */
enum control {
	CONTROL_NOW = 0,    /* nothing but tell the time */
	CONTROL_LINK,       /* a chain of new destinations joins the service's list */
	CONTROL_UNLINK,     /* a destination leaves the list */
	CONTROL_CHANGED,    /* the destination was changed */
	CONTROL_RESCHEDULE, /* the service has this scheduler from now on */
	CONTROL_END,        /* every connection of the destination ends */
	CONTROL_FOLD,       /* counters become totals: of the service, or of everything */
	CONTROL_SWEEP,      /* every expired connection ends */
	CONTROL_SETTING,    /* a setting was changed: the service's scheduler may go by it */
	CONTROL_UNSCHEDULE, /* the service goes: what its scheduler keeps for it is freed */
};
struct control_args {
	__u32 operation; /* of control */
	__u32 service;   /* slot */
	union {
		__u32 destination; /* slot */
		__u32 scheduler;   /* RESCHEDULE: of scheduler */
	};
	__s32 result; /* out: END: how many; else 0, or -1 for no such service */
	__u32 now;    /* out: tick */
};

/* Deleted destinations by name: added again, they take their connections over. Python's alone. */
struct trash_key {
	struct service_key service;
	struct addr address;
	__be16 port;
	__u16 spare[3];
};
struct trashed {
	__u32 slot;
	__u32 available; /* its connections go on */
};

/* `pylvs mark`: packets like this have this firewall mark. The most specific rules come first. There are twice as many
 * as a table can have: new ones are written beside the old ones, and then put in place. */
enum mark_size { MARK_RULES = 1024 };
struct mark_rule {
	struct addr address;
	struct addr mask;
	__u16 first_port; /* host order */
	__u16 last_port;
	__u32 mark;
	__u8 protocol; /* 0: any */
	__u8 spare[7];
};

/* `pylvs trace`: which packets it wants. Written by Python; masks, ports and numbers of 0 match everything. */
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
	TRACE_KNOWN = 2,     /* it belongs to a connection, as it was looked up after the packet had changed it */
	TRACE_REPLY = 4,     /* reply direction */
	TRACE_PERSISTENT = 8 /* the connection has a template */
};

/* One packet, as it came and as it left. */
enum trace_size { TRACE_SNAP = 256 };
struct trace_record {
	__u64 time; /* ns, as CLOCK_MONOTONIC has them */
	struct addr client;
	struct addr virtual;
	struct addr real;
	__be16 cport;
	__be16 vport;
	__be16 rport;
	__u8 hook; /* of hook */
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
	__u32 ifindex;   /* ingress */
	__u32 out;       /* ifindex of the egress; 0: not known */
	__u32 length;    /* bytes of the frame as it came, of which `before` has the first */
	__u32 left;      /* bytes of the frame as it left */
	struct addr hop; /* next hop, zero: not known */
	__u8 before[TRACE_SNAP];
	__u8 after[TRACE_SNAP];
};

/* A CPU's part of a trace. */
struct tracer {
	__u32 since; /* tick from which the records of this second are counted */
	__u32 sent;
	__u64 left_out; /* records over the rate */
	__u64 lost;     /* records for which the ring had no room */
	struct trace_record record;
};

/* `pylvs trace --explain`: what would become of the first packet of a flow. The flow goes in, the rest comes out. */
enum explain_flag {
	EXPLAIN_REMEMBERS = 1, /* the scheduler first tries `remembered`, and `destination` is what it would add */
	EXPLAIN_RANDOM = 2,    /* the scheduler draws by lot */
	EXPLAIN_PRESSED = 4    /* new flows have found no room: `consistent` may count */
};
enum explain_size { EXPLAIN_REMEMBERED = 16, EXPLAIN_AT = 16 }; /* EXPLAIN_AT: offset of the argument in the frame */
struct explain_args {
	struct addr client;
	struct addr virtual;
	__be16 cport; /* 0: any */
	__be16 vport;
	__u8 protocol;
	__u8 family;
	__be16 rport; /* out, as are all that follow but `mark` */
	__u32 mark;   /* netfilter's, 0: none; out: the one that counts */
	__u32 service;
	__u32 connection;  /* number + 1 */
	__u32 template;    /* number + 1 */
	__u32 destination; /* slot of the one that it would go to */
	__u32 consistent;  /* slot of the one that the consistent hash gives */
	__u32 outcome;     /* where the packet meets the data plane */
	__u32 ingress;     /* ifindex towards the client, 0: none, or this host itself */
	__u32 flags;       /* of explain_flag */
	__u32 now;
	__u32 remembered[EXPLAIN_REMEMBERED]; /* slots, 0: none */
};

/* Brings all of it into BTF, which keeps only what a variable has. */
struct abi {
	enum abi_version abi_version;
	enum hook hook;
	enum protocol protocol;
	enum method method;
	enum tunnel tunnel;
	enum tunnel_flag tunnel_flag;
	enum persistence_engine persistence_engine;
	enum scheduler scheduler;
	enum tcp_state tcp_state;
	enum udp_state udp_state;
	enum sctp_state sctp_state;
	enum template_state template_state;
	enum states states;
	enum service_flag service_flag;
	enum destination_flag destination_flag;
	enum connection_flag connection_flag;
	enum outcome outcome;
	enum defence defence;
	enum control control;
	enum key_count key_count;
	enum filter_size filter_size;
	enum filter_hash filter_hash;
	enum filter_kind filter_kind;
	enum record_size record_size;
	enum slot slot;
	enum limit limit;
	enum tag tag;
	enum bucket_size bucket_size;
	enum mark_size mark_size;
	enum trace_flag trace_flag;
	enum trace_size trace_size;
	enum explain_flag explain_flag;
	enum explain_size explain_size;
	struct service_key service_key;
	struct service service;
	struct destination destination;
	struct retired retired;
	struct connection_bucket connection_bucket;
	struct estimate estimate;
	struct control_args control_args;
	struct trash_key trash_key;
	struct trashed trashed;
	struct mark_rule mark_rule;
	struct trace_filter trace_filter;
	struct tracer tracer;
	struct explain_args explain_args;
};

_Static_assert(sizeof(struct connection) == CONNECTION_SIZE, "a connection is one cache line");
_Static_assert(sizeof(struct service) == RECORD_SIZE, "a service is a record");
_Static_assert(sizeof(struct destination) == RECORD_SIZE, "a destination is a record");
_Static_assert(sizeof(struct retired) == RECORD_SIZE, "a retired record is still one");
_Static_assert(sizeof(struct counters) <= CPU_LINE, "a CPU's counters are one cache line");

#endif
