/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* What a packet does to the state of its connection: the state machines of the kernel's ip_vs_proto_tcp.c and
 * ip_vs_proto_sctp.c.
 *
 * A table has, for each direction, one row for each event. A row is a string of letters: the letter in the column of
 * the old state is the new state. */
#ifndef PYLVS_STATES_H
#define PYLVS_STATES_H

#include "packet.h"

enum direction { FROM_CLIENT, FROM_SERVER, CLIENT_ONLY };
enum { ROWS = 4 }; /* one for each direction; the fourth since bounded() makes two bits of a direction */

/* TCP's letters: N none, E established, S syn sent, R syn received, F fin wait, T time wait, C close, W close wait,
 * L last ack, I listen, A synack. The columns of a row are in this order too. */
static const char tcp_next[ROWS][4][STATES] = {
	[FROM_CLIENT] = {"REERRRRRRRR", "CWSTTTCWLIT", "EESEFTCWCIE", "CCCRCCCCLIR"},
	[FROM_SERVER] = {"SESRSSSSSIR", "TFSTFTCTLIT", "EESEFTCWLEE", "CCSCCTCCCCC"},
	[CLIENT_ONLY] = {"REERRRRRRRR", "CFSTFTCWLIT", "EESEFTCWCIE", "CCCRCCCCLIC"},
};

/* With secure_tcp a handshake must be seen from both sides before it counts as established. */
static const char tcp_next_secure[ROWS][4][STATES] = {
	[FROM_CLIENT] = {"REERRRRRRRA", "CWSTTTCWLIA", "EESRFTCWCIA", "CCCRCCCCLIC"},
	[FROM_SERVER] = {"SESASSSSSIA", "TFSTFTCTLIT", "EESEFTCWLEE", "CCSCCTCCCCC"},
	[CLIENT_ONLY] = {"AEERAAAAAAA", "CFSTFTCWLIT", "EESEFTCWCIE", "CCCRCCCCLIC"},
};

static __always_inline __u8 tcp_state_of_letter(char letter)
{
	switch (letter) {
	case 'N': return TCP_NONE;
	case 'E': return TCP_ESTABLISHED;
	case 'S': return TCP_SYN_SENT;
	case 'R': return TCP_SYN_RECV;
	case 'F': return TCP_FIN_WAIT;
	case 'T': return TCP_TIME_WAIT;
	case 'W': return TCP_CLOSE_WAIT;
	case 'L': return TCP_LAST_ACK;
	case 'I': return TCP_LISTEN;
	case 'A': return TCP_SYNACK;
	}
	return TCP_CLOSE;
}

static __always_inline __u8 tcp_transition(__u8 state, __u8 event, enum direction direction, int secure)
{
	__u32 row = bounded(direction, ROWS - 1), column = bounded(state, STATES - 1);

	if (event >= EVENT_NONE)
		return TCP_CLOSE;
	return tcp_state_of_letter(secure ? tcp_next_secure[row][event][column] : tcp_next[row][event][column]);
}

/* SCTP's columns: none, init1, init, cookie sent, cookie replied, cookie wait, cookie, cookie echoed, established,
 * shutdown sent, shutdown received, shutdown ack sent, rejected, closed; a letter is the column's, from a. */
static const char sctp_next[ROWS][SCTP_EVENTS][STATES] = {
	[FROM_CLIENT] =
		{
			[SCTP_DATA] = "ibcdefghijklmn",
			[SCTP_EVENT_INIT] = "bccdefghijklcc",
			[SCTP_EVENT_INIT_ACK] = "fffdegghijklmn",
			[SCTP_COOKIE_ECHO] = "ecceefghijklmn",
			[SCTP_COOKIE_ACK] = "ibcdefgiijklmn",
			[SCTP_SHUTDOWN] = "kbcdefghkjklmn",
			[SCTP_SHUTDOWN_ACK] = "nccdefghinknmn",
			[SCTP_SHUTDOWN_COMPLETE] = "nnndefghijknmn",
			[SCTP_ERROR] = "nbcdefgnijklmn",
			[SCTP_ABORT] = "nnnnnmnnnnnnnn",
		},
	[FROM_SERVER] =
		{
			[SCTP_DATA] = "ibcdefghijklmn",
			[SCTP_EVENT_INIT] = "ffffffffifffff",
			[SCTP_EVENT_INIT_ACK] = "ddddefghijklmn",
			[SCTP_COOKIE_ECHO] = "hhhhhhhhijklmn",
			[SCTP_COOKIE_ACK] = "iiiiiiiiijklmn",
			[SCTP_SHUTDOWN] = "jjjjjjjjjjklmn",
			[SCTP_SHUTDOWN_ACK] = "lllllfghilllmn",
			[SCTP_SHUTDOWN_COMPLETE] = "nbcdefghijklmn",
			[SCTP_ERROR] = "nnnnnfghijklmn",
			[SCTP_ABORT] = "nmnnnnnnnnnnnn",
		},
	[CLIENT_ONLY] =
		{
			[SCTP_DATA] = "ibcdeighijklmn",
			[SCTP_EVENT_INIT] = "bcccccghijklcc",
			[SCTP_EVENT_INIT_ACK] = "hhhhhhghijklmn",
			[SCTP_COOKIE_ECHO] = "iiiiiighijklmn",
			[SCTP_COOKIE_ACK] = "ibciifiiijklmn",
			[SCTP_SHUTDOWN] = "kbcdefghkjklmn",
			[SCTP_SHUTDOWN_ACK] = "nccdefghnnknmn",
			[SCTP_SHUTDOWN_COMPLETE] = "nnnnnfghijnnmn",
			[SCTP_ERROR] = "nbcdefghijklmn",
			[SCTP_ABORT] = "nnnnnmnnnnnnnn",
		},
};

static __always_inline __u8 sctp_transition(__u8 state, __u8 event, enum direction direction)
{
	__u32 row = bounded(direction, ROWS - 1), column = bounded(state, STATES - 1);

	if (event >= SCTP_EVENTS)
		return state;
	return sctp_next[row][event][column] - 'a';
}

/* Whether a TCP state counts as active (tcp_state_active_table of ip_vs_proto_tcp.c). */
static __always_inline int tcp_is_active(__u8 state)
{
	return state == TCP_ESTABLISHED || state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_SYNACK;
}

#endif
