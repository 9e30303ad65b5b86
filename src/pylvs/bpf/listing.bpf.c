// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The rows of `pylvsadm -Lnc`, written in the kernel, so that a million of them cost what they cost to print.
 *
 * The command runs the program again and again: each run goes on at the set where the last one stopped, writes rows
 * until the text is full or the table ends, and returns the bytes written, 0 after the last row. Empty sets are skipped
 * by `due`, as the sweep does. Each listing loads this object for itself, so the cursor and the text are its own, and the
 * connection table is only read. A syscall program loads wherever the director does; an iterator is a tracing program,
 * which some kernels refuse. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "records.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set before loading. */
volatile const __u32 now = 0;    /* ticks */
volatile const __u32 second = 1; /* ticks */

enum { GROUPS = 8 }; /* of an IPv6 address */
enum { NAME = 16, FAR_TICKS = 1 << 30 };

struct name {
	char text[NAME - 1];
	__u8 length;
};

/* By protocol and state; the last row is of templates. A length of 0: there is no such state. */
static const struct name states[4][STATES] = {{{"NONE", 4},
					       {"ESTABLISHED", 11},
					       {"SYN_SENT", 8},
					       {"SYN_RECV", 8},
					       {"FIN_WAIT", 8},
					       {"TIME_WAIT", 9},
					       {"CLOSE", 5},
					       {"CLOSE_WAIT", 10},
					       {"LAST_ACK", 8},
					       {"LISTEN", 6},
					       {"SYNACK", 6}},
					      {{"UDP", 3}},
					      {{"NONE", 4},
					       {"INIT1", 5},
					       {"INIT", 4},
					       {"C-SENT", 6},
					       {"C-REPLIED", 9},
					       {"C-WAIT", 6},
					       {"COOKIE", 6},
					       {"C-ECHOED", 8},
					       {"ESTABLISHED", 11},
					       {"S-SENT", 6},
					       {"S-RECEIVED", 10},
					       {"S-ACK-SENT", 10},
					       {"REJECTED", 8},
					       {"CLOSED", 6}},
					      {{"NONE", 4}, {"ASSURED", 7}}};

static const struct name protocols[4] = {{"TCP", 3}, {"UDP", 3}, {"SCTP", 4}, {"IP", 2}};

static __u32 protocol_index(__u8 protocol)
{
	switch (protocol) {
	case PROTO_TCP: return 0;
	case PROTO_UDP: return 1;
	case PROTO_SCTP: return 2;
	}
	return 3;
}

/* The rows of one run, which Python reads by mmap. `TEXT` is a power of two, for the verifier; what is written in one
 * go beyond it still fits. Global functions are verified once for all their calls, which keeps the number of paths small. */
enum { TEXT = 1 << 20, MORE = 64, ROW_MAX = 256, BPF_MAX_STEPS = 1 << 23 };
char text[TEXT + MORE];

/* The cursor. It is in a map and not on the stack, where the verifier would count along. */
__u32 next_set;
__u32 length;

/* A copy of the entry whose row is written: packets change the table meanwhile. */
struct connection entry;

static __always_inline __u32 put(__u32 at, char letter)
{
	text[at % TEXT] = letter;
	return at + 1;
}

/* A tenth of a number of 16 bits, without the division that clang would make of `/`. */
static __always_inline __u32 tenth(__u32 number)
{
	return number * 52429 >> 19;
}

/* A number of 16 bits: a port, or the minutes of a timeout, of which 31 days have 44,640. */
__noinline __u32 put_number(__u32 at, __u32 number)
{
	__u32 tens = tenth(number), hundreds = tenth(tens), thousands = tenth(hundreds), myriads = tenth(thousands);

	if (number >= 10000)
		at = put(at, '0' + myriads);
	if (number >= 1000)
		at = put(at, '0' + thousands - myriads * 10);
	if (number >= 100)
		at = put(at, '0' + hundreds - thousands * 10);
	if (number >= 10)
		at = put(at, '0' + tens - hundreds * 10);
	return put(at, '0' + number - tens * 10);
}

/* A name, and blanks up to the width of its column; at least one. */
static __always_inline __u32 put_name(__u32 at, const struct name *name, __u32 width)
{
	__builtin_memcpy(text + at % TEXT, name->text, NAME - 1);
	__builtin_memset(text + (at + name->length) % TEXT, ' ', NAME);
	return at + (name->length < width ? width : name->length) + 1;
}

/* A number of 8 bits. Whether it has two digits or three is not branched on, as the processor could not predict it: a zero
 * in front is overwritten by what follows it. */
static __always_inline __u32 put_octet(__u32 at, __u32 number)
{
	__u32 tens = tenth(number), hundreds = tenth(tens);

	put(at, '0' + hundreds);
	at += (99 - number) >> 31;
	put(at, '0' + tens - hundreds * 10);
	at += (9 - number) >> 31;
	return put(at, '0' + number - tens * 10);
}

__noinline __u32 put_ipv4(__u32 at, __u32 address)
{
	at = put(put_octet(at, address >> 24), '.');
	at = put(put_octet(at, address >> 16 & 255), '.');
	at = put(put_octet(at, address >> 8 & 255), '.');
	return put_octet(at, address & 255);
}

static __always_inline char hexadecimal(__u32 digit)
{
	return digit < 10 ? '0' + digit : 'a' + digit - 10;
}

__noinline __u32 put_group(__u32 at, __u32 group)
{
	if (group >= 0x1000)
		at = put(at, hexadecimal(group >> 12 & 15));
	if (group >= 0x100)
		at = put(at, hexadecimal(group >> 8 & 15));
	if (group >= 0x10)
		at = put(at, hexadecimal(group >> 4 & 15));
	return put(at, hexadecimal(group & 15));
}

/* The longest run of two zero groups or more, the first of several: its first group, and in the upper half the group
 * after it. `zeros` has a bit for each group. */
__noinline __u32 longest_run(__u32 zeros)
{
	for (__u32 length = GROUPS; length >= 2; length--)
		for (__u32 first = 0; first + length <= GROUPS; first++) {
			__u32 run = ((1 << length) - 1) << first;

			if ((zeros & run) == run)
				return first | (first + length) << 16;
		}
	return GROUPS | GROUPS << 16;
}

static __always_inline __u32 group_of(__u64 high, __u64 low, __u32 i)
{
	return (i < 4 ? high : low) >> (48 - i % 4 * 16) & 0xffff;
}

/* An IPv6 address as inet_ntop(3) writes it, so ::1.2.3.4 with a dotted end. */
__noinline __u32 put_ipv6(__u32 at, __u64 high, __u64 low)
{
	__u32 zeros = 0, run, from, to;

	high = bpf_be64_to_cpu(high);
	low = bpf_be64_to_cpu(low);
	for (__u32 i = 0; i < GROUPS; i++)
		zeros |= (group_of(high, low, i) == 0) << i;
	run = longest_run(zeros);
	from = run & 0xffff;
	to = run >> 16;
	for (__u32 i = 0; i < GROUPS; i++) {
		if (i >= from && i < to) {
			if (i == from)
				at = put(at, ':');
			continue;
		}
		if (i)
			at = put(at, ':');
		if (i == 6 && from == 0 && to == 6)
			return put_ipv4(at, low);
		at = put_group(at, group_of(high, low, i));
	}
	return from < to && to == GROUPS ? put(at, ':') : at;
}

/* An address and port: `10.0.0.1:80`, `[fd00::1]:80`. */
__noinline __u32 put_endpoint(__u32 at, __u64 high, __u64 low, __u32 port)
{
	struct addr addr = {high, low};

	if (addr_is_v4(&addr)) {
		at = put_ipv4(at, bpf_ntohl(addr_v4(&addr)));
	} else {
		at = put(put_ipv6(put(at, '['), high, low), ']');
	}
	return put_number(put(at, ':'), port);
}

/* An endpoint in a column of ipvsadm's 18 letters. */
__noinline __u32 put_column(__u32 at, __u64 high, __u64 low, __u32 port)
{
	__u32 end = put_endpoint(at, high, low, port), column = at + 18;

	__builtin_memset(text + end % TEXT, ' ', 24);
	return (end > column ? end : column) + 1;
}

/* Minutes and seconds, `14:59 `: six letters, more if the minutes take more. */
__noinline __u32 put_expiry(__u32 at, __u32 left)
{
	__u32 minutes = left / 60, seconds = left % 60, end = at;

	if (minutes < 10)
		end = put(end, '0');
	end = put(put_number(end, minutes), ':');
	end = put(put(end, '0' + tenth(seconds)), '0' + seconds - tenth(seconds) * 10);
	__builtin_memset(text + end % TEXT, ' ', 4);
	return (end > at + 6 ? end : at + 6) + 1;
}

static __always_inline int real_address(struct addr *address, __u32 slot)
{
	struct destination *destination = destination_get(slot);

	if (!destination)
		return -1;
	*address = destination->address;
	return 0;
}

/* Columns are those of ipvsadm: "%-3s %-6s %-11s %-18s %-18s %s". */
__noinline int put_row(void)
{
	__u32 ticks = entry.expires - now, left = ticks < FAR_TICKS ? ticks / second : 0;
	__u32 index = protocol_index(entry.protocol), at = length;
	__u32 names = entry.flags & CONN_TEMPLATE ? 3 : index & 3;
	__u32 invalid = entry.flags & CONN_INVALID;
	struct addr server = {};

	real_address(&server, entry.destination);
	at = put_name(at, &protocols[index & 3], 3);
	at = put_expiry(at, left);
	at = put_name(at, &states[names & 3][entry.state & (STATES - 1)], 11);
	at = put_column(at, entry.client.high, entry.client.low, bpf_ntohs(entry.cport));
	at = put_column(at, entry.virtual.high, entry.virtual.low, invalid ? 65535 : bpf_ntohs(entry.vport));
	at = put_endpoint(at, server.high, server.low, invalid ? 65535 : bpf_ntohs(entry.rport));
	length = put(at, '\n');
	return 0;
}

/* Alive: not over yet, or a template that is over but still controls connections. */
static int is_listed(void)
{
	__u32 ticks = entry.expires - now;

	if (entry.tag < TAG_FIRST)
		return 0;
	return (ticks && ticks < 1U << 31) || ((entry.flags & CONN_TEMPLATE) && entry.control);
}

static __always_inline void list_set(struct connection_bucket *set)
{
	for (int i = 0; i < WAYS; i++) {
		entry = set->way[i];
		if (is_listed())
			put_row();
	}
}

static long list_visit(__u32 index, void *context)
{
	__u32 number = next_set;
	struct bucket_summary *summary = bpf_map_lookup_elem(&due, &number);
	struct connection_bucket *set;

	if (!summary)
		return 1;
	next_set = number + 1;
	if (!summary->due)
		return 0;
	set = bpf_map_lookup_elem(&connections, &number);
	if (set)
		list_set(set);
	return length > TEXT - WAYS * ROW_MAX;
}

SEC("syscall")
int list_connections(void *context)
{
	length = 0;
	bpf_loop(BPF_MAX_STEPS, list_visit, 0, 0);
	return length;
}
