// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The director. A packet's way, in the order in which it goes:
 *	parse (packet.h) -> can it be for us? (service.h) -> connection known? (connection.h) -> which virtual
 *	service? (service.h) -> schedule a destination (schedule.h, schedulers/) -> forward it (forwarders/) or
 *	refuse it (icmp.h) -> leave (count.h)
 * Two programs are made of it: XDP, fast, and TC, which can do everything. XDP leaves to TC what it cannot finish, and
 * does so before it has counted anything. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "control.h"
#include "icmp.h"
#include "sweep.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* A later fragment has no ports: it gets those of the first. */
inline_always int fragment_ports(struct flow *flow)
{
	struct fragment first = {.sport = flow->sport, .dport = flow->dport, .tick = flow->now}, *seen;
	struct desk *desk = desk_get();
	struct fragment_key *key;

	if (!desk)
		return -1;
	key = &desk->fragment_key;
	key->saddr = flow->saddr;
	key->daddr = flow->daddr;
	key->id = flow->id;
	key->protocol = flow->protocol;
	if (flow->fragment == FRAGMENT_FIRST) {
		bpf_map_update_elem(&fragments, key, &first, BPF_ANY);
		return 0;
	}
	seen = bpf_map_lookup_elem(&fragments, key);
	if (!seen)
		return -1;
	flow->sport = seen->sport;
	flow->dport = seen->dport;
	return 0;
}

/* The largest IP packet that the way to this destination takes. */
inline_always __u32 mtu_towards(const struct destination *destination, __u8 method)
{
	if (!destination->mtu)
		return 65535;
	return method == METHOD_TUN ? destination->mtu - tunnel_overhead(destination) : destination->mtu;
}

/* Whether the packet may go on to this destination: refusals that do not depend on the method. OUTCOMES: it may. */
inline_always enum outcome admit(struct packet *packet, struct destination *destination, __u8 method,
				 struct settings *setting)
{
	struct flow *flow = packet->flow;
	__u32 mtu = mtu_towards(destination, method);

	if (unlikely(flow->ttl <= 1))
		return refuse_ttl(packet, setting);
	if (unlikely(wire_length(packet) > mtu) && flow->flags & FLOW_DF && setting->pmtu_disc)
		return refuse_too_big(packet, setting, mtu);
	return OUTCOMES;
}

inline_always enum outcome forward(struct packet *packet, struct choice *choice, struct destination *destination,
				   struct connection *connection, struct settings *setting, enum hop hop)
{
	enum outcome outcome;

	if (hop == HOP_NONE)
		return DROP_NO_ROUTE;
	if (hop == HOP_LOCAL && choice->method != METHOD_NAT)
		return PASS_LOCAL;
	outcome = hop == HOP_LOCAL ? OUTCOMES : admit(packet, destination, choice->method, setting);
	if (outcome != OUTCOMES)
		return outcome;
	switch (choice->method) {
	case METHOD_DR:
		outcome = dr_forward(packet, destination, hop);
		break;
	case METHOD_NAT:
		outcome = nat_forward(packet, destination, choice->rport, hop);
		break;
	case METHOD_TUN:
		outcome = tun_forward(packet, destination, hop);
		break;
	case METHOD_FULLNAT:
		outcome = connection ? fullnat_forward(packet, destination, connection, hop) : DROP_NO_ENTRY;
		break;
	default:
		outcome = DROP_ERROR;
	}
	return outcome;
}

/* Whether XDP can finish this packet by itself. It cannot refuse, nor ask for a neighbour. */
inline_always int xdp_can(struct packet *packet, struct destination *destination, __u8 method, enum hop hop)
{
	return hop == HOP_READY && packet->flow->ttl > 1 && packet->flow->length <= mtu_towards(destination, method);
}

/* A packet of a known connection, from its client. */
inline_always enum outcome direct_known(struct packet *packet, __u32 number, struct connection *connection,
					struct settings *setting)
{
	struct flow *flow = packet->flow;
	struct choice choice = {connection->destination, number, connection->rport, connection->method, 0, 0};
	struct destination *destination = destination_get(choice.destination);
	enum hop hop;

	if (!destination)
		return DROP_ERROR;
	if (unlikely(!(destination->flags & DEST_AVAILABLE)))
		return DROP_DESTINATION_GONE;
	hop = destination_hop(packet, destination, setting);
	if (packet->hook == HOOK_XDP && !xdp_can(packet, destination, choice.method, hop))
		return PASS_TO_TC;
	count_request(choice.destination, destination, flow->length);
	connection_advance(connection, number - 1, destination, flow, FROM_CLIENT, setting);
	return forward(packet, &choice, destination, connection, setting, hop);
}

/* Whether a packet without a connection may open one; the table being pressed, also one in the middle of a flow, which
 * the consistent hash takes to where the rest of it went. */
inline_always int may_open(const struct flow *flow, struct settings *setting)
{
	if (flow->fragment == FRAGMENT_LATER)
		return 0;
	if (flow->flags & FLOW_OPENS)
		return 1;
	if (flow->protocol == PROTO_TCP)
		return flow->event != EVENT_RST && (setting->sloppy_tcp || table_is_pressed(setting, flow->now));
	return flow->protocol == PROTO_SCTP && setting->sloppy_sctp;
}

inline_always enum outcome direct_new(struct packet *packet, struct settings *setting)
{
	struct flow *flow = packet->flow;
	__u32 slot = service_find(flow, setting);
	struct choice choice = {};
	struct connection *connection = 0;
	struct destination *destination;
	enum hop hop;
	enum outcome outcome;

	if (!slot)
		return PASS_NOT_OURS;
	if (!may_open(flow, setting))
		return flow->fragment == FRAGMENT_LATER ? DROP_FRAGMENT : PASS_NO_CONNECTION;
	connection_new(flow, slot, &choice);
	if (!choice.destination)
		return choice.outcome == REFUSE_NO_DESTINATION ? refuse_no_destination(packet, setting) : choice.outcome;
	destination = destination_get(choice.destination);
	if (!destination)
		return DROP_ERROR;
	if (choice.number)
		connection = connection_get(choice.number - 1);
	hop = destination_hop(packet, destination, setting);
	if (packet->hook == HOOK_XDP && !xdp_can(packet, destination, choice.method, hop))
		return PASS_TO_TC;
	count_request(choice.destination, destination, flow->length);
	if (connection)
		connection_advance(connection, choice.number - 1, destination, flow, FROM_CLIENT, setting);
	outcome = forward(packet, &choice, destination, connection, setting, hop);
	if (!connection && outcome >= FORWARD_DR && outcome < FORWARD_STATELESS)
		outcome = FORWARD_STATELESS;
	return outcome;
}

/* A new SYN on a port that is still in the table: a connection that is over is scheduled anew (conn_reuse_mode). */
inline_always int is_reused(struct connection *connection, struct flow *flow, struct settings *setting)
{
	struct destination *destination;

	if (!(flow->flags & FLOW_SYN) || flow->fragment == FRAGMENT_LATER)
		return 0;
	if (setting->expire_nodest_conn) {
		destination = destination_get(connection->destination);
		if (destination && !destination->weight)
			return 1;
	}
	if (!setting->conn_reuse_mode || connection->control)
		return 0;
	if (connection->protocol == PROTO_SCTP)
		return connection->state == SCTP_CLOSED;
	return connection->state == TCP_TIME_WAIT || connection->state == TCP_CLOSE ||
	       (setting->conn_reuse_mode & 2 && connection->state == TCP_FIN_WAIT &&
		connection->flags & CONN_NO_OUTPUT);
}

/* Its destination was deleted, and such connections are to end at once. */
inline_always int is_orphan(struct connection *connection, struct settings *setting)
{
	struct destination *destination;

	if (!setting->expire_nodest_conn)
		return 0;
	destination = destination_get(connection->destination);
	return destination && !(destination->flags & DEST_AVAILABLE);
}

/* FULLNAT: the reply's destination becomes the client again. */
inline_always void translate_back(struct translation *change, const struct flow *flow, const struct connection *connection)
{
	change->end = END_DESTINATION;
	change->old = flow->daddr;
	change->new = connection->client;
	change->old_port = flow->dport;
	change->new_port = connection->cport;
}

/* A reply from a NAT server to its client. */
inline_always enum outcome reply(struct packet *packet, __u32 number, struct connection *connection,
				 struct settings *setting)
{
	struct flow *flow = packet->flow;
	struct destination *destination = destination_get(connection->destination);
	int full = connection->method == METHOD_FULLNAT;
	struct desk *desk = desk_get();
	enum hop hop;

	if (!destination || !desk)
		return DROP_ERROR;
	if (flow->ttl <= 1)
		return PASS_TTL;
	hop = client_hop(packet, &connection->client, setting, desk);
	if (hop == HOP_LATER)
		return PASS_TO_TC;
	if (hop == HOP_NONE)
		return DROP_NO_ROUTE;
	count_reply(connection->destination, destination, flow->length);
	connection_advance(connection, number - 1, destination, flow, FROM_SERVER, setting);
	translate_from(&desk->first, flow, &connection->virtual, connection->vport);
	if (translate(packet, &desk->first))
		return DROP_ERROR;
	if (full) {
		translate_back(&desk->second, flow, connection);
		if (translate(packet, &desk->second))
			return DROP_ERROR;
	}
	if (hop == HOP_LOCAL)
		return PASS_LOCAL;
	if (decrement_ttl(packet, flow->l3))
		return DROP_ERROR;
	return send_to_client(packet, desk, hop, full ? FORWARD_FULLNAT_REPLY : FORWARD_NAT_REPLY);
}

inline_always enum outcome direct_reply(struct packet *packet, struct settings *setting)
{
	struct connection *connection = 0;
	__u32 number = connection_find(packet->flow, 1, &connection);

	if (!number)
		number = fullnat_find(packet->flow, &connection);
	if (!number || !connection)
		return PASS_NOT_OURS;
	return reply(packet, number, connection, setting);
}

inline_always enum outcome direct_request(struct packet *packet, struct settings *setting)
{
	struct connection *connection = 0;
	__u32 number = connection_find(packet->flow, 0, &connection);

	if (likely(number && connection)) {
		if (likely(!is_reused(connection, packet->flow, setting) && !is_orphan(connection, setting)))
			return direct_known(packet, number, connection, setting);
		connection_end(connection, packet->flow->now, setting->second);
	}
	return direct_new(packet, setting);
}

inline_always enum outcome direct(struct packet *packet)
{
	struct settings *setting = settings_get();
	struct flow *flow = packet->flow;
	int may_be_request, may_be_reply;
	enum outcome outcome;

	if (!setting || !setting->services)
		return PASS_NOT_OURS;
	outcome = parse(packet);
	if (outcome != OUTCOMES)
		return outcome;
	if (flow->flags & FLOW_ICMP_ERROR)
		return direct_error(packet, setting);
	if (flow->protocol != PROTO_TCP && flow->protocol != PROTO_UDP && flow->protocol != PROTO_SCTP)
		return PASS_NOT_OURS;
	may_be_request = setting->fwmark_services || filter_has(&flow->daddr, FILTER_VIP);
	may_be_reply = filter_has(&flow->saddr, FILTER_RIP);
	if (!may_be_request && !may_be_reply)
		return PASS_NOT_OURS;
	flow->now = now_ticks();
	if (unlikely(flow->fragment != FRAGMENT_NONE) && fragment_ports(flow))
		return DROP_FRAGMENT;
	if (may_be_request) {
		outcome = direct_request(packet, setting);
		if (outcome != PASS_NOT_OURS || !may_be_reply)
			return outcome;
	}
	return direct_reply(packet, setting);
}

SEC("xdp")
int director_xdp(struct xdp_md *ctx)
{
	struct flow flow = {};
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP, .verdict = XDP_DROP, .flow = &flow};

	return leave(&packet, direct(&packet));
}

/* Enough of the packet for every header that is looked at. */
enum { HEADERS = 192 };

SEC("tc")
int director_tc(struct __sk_buff *skb)
{
	struct flow flow = {.mark = skb->mark};
	struct packet packet = {.ctx = skb, .hook = HOOK_TC, .verdict = TC_ACT_SHOT, .flow = &flow};

	if (skb->data_end - skb->data < HEADERS && skb->data_end - skb->data < skb->len)
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	return leave(&packet, direct(&packet));
}
