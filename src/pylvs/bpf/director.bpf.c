// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* The director: one packet, from the hook to the verdict.
 *
 * 1. process() hands the packet to direct(), refuses it if that says so, and counts it by leave() (count.h).
 * 2. direct() parses the packet (packet.h) and asks whether it can be ours (service.h). Most that are not leave
 *    here.
 * 3. direct_request(): is its connection known (connection.h)? Else, which virtual service is it for (service.h),
 *    and which destination is scheduled (schedule.h)? Then forward() it there (forward.h, forwarders/). This is the
 *    fast path.
 * 4. direct_reply(), if it is no request: is it a reply of NAT or FULLNAT? Then it is translated and sent to the
 *    client.
 * 5. return_from_tunnel(), if it is neither: is it an ICMP error about a tunnel's packet (icmp.h)?
 * 6. dsr_return(), if it is still not ours: is it direct server return that passes here?
 * 7. refuse(), if a step above says so: an ICMP error is sent to the client (icmp.h).
 *
 * Three kinds of packets go towards clients, and so have three names: a *reply* is NAT's or FULLNAT's, a *refusal* is
 * an ICMP error that the director generates, *direct server return* (dsr) is what a real server with DR or TUN sends
 * from the VIP.
 *
 * Two programs are made of this: XDP, which is fast, and TC, which can do everything. XDP leaves to TC what it cannot
 * finish, before it has counted anything. Slow paths are out of line, in global functions, which the verifier walks
 * once (docs/decisions/0005). */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "control.h"
#include "explain.h"
#include "forwarders/dr.h"
#include "icmp.h"
#include "trace.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The largest IP packet that can be forwarded to this destination whole. */
static __always_inline __u32 path_mtu(const struct destination *destination, __u8 method)
{
	if (!destination->mtu)
		return IP_LENGTH_MAX;
	return method == METHOD_TUN ? tunnel_mtu(destination) : destination->mtu;
}

/* Whether the packet can be forwarded to this destination, whatever the method. OUTCOMES: it can. TC only: xdp_can()
 * has told XDP. */
static __always_inline enum outcome admit(struct packet *packet, struct destination *destination, struct choice *choice)
{
	struct flow *flow = packet->flow;
	enum outcome outcome;

	if (unlikely(flow->ttl <= 1))
		return REFUSE_TTL;
	flow->mtu = path_mtu(destination, choice->method);
	if (likely(flow->length <= flow->mtu))
		return OUTCOMES;
	outcome = fit_mtu_tc(packet->ctx, flow, choice);
	if (outcome == REFUSE_TOO_BIG && decrement_ttl(packet)) /* the kernel quotes it decremented */
		return DROP_ERROR;
	return outcome;
}

/* All methods but DR and, at XDP, NAT. Out of line: inlined, the verifier walks each method after each of the many
 * paths that lead here, and says "BPF program is too large. Processed 1000001 insn" or takes a second and more
 * (docs/decisions/0005). */
static __always_inline enum outcome forward_by(struct packet *packet, struct choice *choice,
					       struct destination *destination, enum hop hop)
{
	int full = choice->method == METHOD_FULLNAT && choice->number;
	struct connection *connection = full ? connection_get(choice->number - 1) : 0;

	switch (choice->method) {
	case METHOD_NAT: return nat_forward(packet, destination, choice->rport, hop);
	case METHOD_TUN: return tun_forward(packet, destination, choice, hop);
	case METHOD_FULLNAT: return connection ? fullnat_forward(packet, destination, connection, hop) : DROP_NO_ENTRY;
	}
	return DROP_ERROR;
}

__noinline int forward_xdp(struct xdp_md *ctx, struct flow *flow, struct choice *choice,
			   struct destination *destination, int hop)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP, .flow = flow};

	return flow && choice && destination ? forward_by(&packet, choice, destination, hop) : DROP_ERROR;
}

__noinline int forward_tc(struct __sk_buff *ctx, struct flow *flow, struct choice *choice,
			  struct destination *destination, int hop)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	return flow && choice && destination ? forward_by(&packet, choice, destination, hop) : DROP_ERROR;
}

/* Whether the packet has to be re-injected, so that it loses its route. One from lo still carries it (skb_dst()), and
 * would be given to lo instead of to the neighbour once that is resolved. */
static __always_inline int must_drop_dst(struct packet *packet, struct destination *destination, enum hop hop)
{
	return hop == HOP_RESOLVE && is_zero_mac(destination->neighbour) && ingress_ifindex(packet) == LOOPBACK &&
	       !is_counted(packet);
}

static __always_inline enum outcome reinject_without_dst(struct packet *packet)
{
	((struct __sk_buff *)packet->ctx)->tc_index = FRAG_INNER;
	return redirect_to_lo(packet, FORWARD_CUT);
}

/* Forwards the packet by the method of its choice. */
static __always_inline enum outcome forward(struct packet *packet, struct choice *choice,
					    struct destination *destination, enum hop hop)
{
	int error = packet->flow->flags & FLOW_ICMP_ERROR;
	enum outcome outcome;

	if (hop == HOP_NO_ROUTE || hop == HOP_UNREACHABLE) {
		if (hop == HOP_UNREACHABLE && choice->method == METHOD_DR)
			packet->flow->flags |= FLOW_UNREACHABLE;
		return REFUSE_NO_ROUTE;
	}
	if (hop == HOP_LOCAL && choice->method != METHOD_NAT)
		return PASS_LOCAL;
	if (choice->method == METHOD_TUN && unlikely(!settings.pmtu_disc) && packet->flow->family == 4)
		packet->flow->flags &= ~FLOW_DF; /* of the outer header: it may be fragmented */
	if (packet->hook == HOOK_TC && unlikely(must_drop_dst(packet, destination, hop)))
		return reinject_without_dst(packet);
	if (packet->hook == HOOK_TC && hop != HOP_LOCAL) {
		outcome = admit(packet, destination, choice);
		if (outcome != OUTCOMES)
			return outcome;
	}
	if (choice->method == METHOD_DR) {
		outcome = dr_forward(packet, destination, hop);
	} else {
		if (packet->hook == HOOK_TC && error && choice->method != METHOD_TUN)
			outcome = nat_forward_error(packet->ctx, packet->flow, error_scratch_get(), choice, hop);
		else if (packet->hook == HOOK_XDP && choice->method == METHOD_NAT)
			outcome = nat_forward(packet, destination, choice->rport, hop);
		else if (packet->hook == HOOK_XDP)
			outcome = forward_xdp(packet->ctx, packet->flow, choice, destination, hop);
		else
			outcome = forward_tc(packet->ctx, packet->flow, choice, destination, hop);
	}
	if (outcome < FORWARD_DR || outcome >= FORWARD_STATELESS)
		return outcome;
	if (packet->flow->flags & FLOW_ICMP_ERROR)
		return FORWARD_ICMP;
	return choice->stateless ? FORWARD_STATELESS : outcome;
}

/* Whether XDP can finish this packet by itself: it cannot refuse it, nor resolve a neighbour. */
static __always_inline int xdp_can(struct packet *packet, struct destination *destination, __u8 method, enum hop hop)
{
	return hop == HOP_READY && packet->flow->ttl > 1 && packet->flow->length <= path_mtu(destination, method) &&
	       !(packet->flow->flags & FLOW_ICMP_ERROR);
}

/* Whether a packet without a connection may open one. While the table is pressed that may be in the middle of a flow,
 * which the consistent hash leads to where the rest of it went. */
static __always_inline int may_open(const struct flow *flow)
{
	if (flow->fragment == FRAGMENT_LATER)
		return 0;
	if (flow->flags & FLOW_OPENS)
		return 1;
	if (flow->protocol == PROTO_TCP)
		return flow->event != EVENT_RST && (settings.sloppy_tcp || table_is_pressed(flow->now));
	return flow->protocol == PROTO_SCTP && settings.sloppy_sctp;
}

/* drop_packet: whether this is the one packet in am_droprate, of those that would open a connection, to be dropped. */
static __always_inline int must_drop_packet(void)
{
	if (likely(settings.drop_packet != DEFENCE_ALWAYS) || !settings.am_droprate)
		return 0;
	if ((__s32)__sync_fetch_and_add(&settings.drop_countdown, -1) > 1)
		return 0;
	settings.drop_countdown = settings.am_droprate;
	return 1;
}

/* Opens a connection for a packet that has none. OUTCOMES: the choice says which; else what becomes of the packet
 * instead. */
static __always_inline enum outcome open_connection(struct flow *flow, struct choice *choice)
{
	__u32 slot = service_find(flow);

	if (!slot)
		return PASS_NOT_OURS;
	if (is_martian(flow))
		return PASS_MALFORMED;
	if (!may_open(flow))
		return flow->fragment == FRAGMENT_LATER ? DROP_FRAGMENT : PASS_NO_CONNECTION;
	if (must_drop_packet())
		return DROP_IN_TURN;
	connection_new(flow, slot, choice);
	return choice->destination ? OUTCOMES : choice->outcome;
}

/* Opens the connection that an ICMP error is about, with schedule_icmp. */
static __always_inline enum outcome open_by_error(struct choice *choice)
{
	struct error_scratch *error = settings.schedule_icmp ? error_scratch_get() : 0;

	if (likely(!error))
		return PASS_NOT_OURS;
	error->quoted.flags |= FLOW_OPENS;
	return open_connection(&error->quoted, choice);
}

enum { REUSE_FIN_WAIT = 2 }; /* of conn_reuse_mode: also in FIN_WAIT, if replies do not pass the director */

/* Whether a SYN opens its connection anew, because the old one is over (conn_reuse_mode) or its destination is
 * quiesced. */
static __always_inline int is_reused(struct connection *connection, struct flow *flow)
{
	struct destination *destination;

	if (!(flow->flags & FLOW_SYN) || flow->fragment == FRAGMENT_LATER)
		return 0;
	if (settings.expire_nodest_conn) {
		destination = destination_get(connection->destination);
		if (destination && !destination->weight)
			return 1;
	}
	if (!settings.conn_reuse_mode || connection->control)
		return 0;
	if (connection->protocol == PROTO_SCTP)
		return connection->state == SCTP_CLOSED;
	return connection->state == TCP_TIME_WAIT || connection->state == TCP_CLOSE ||
	       ((settings.conn_reuse_mode & REUSE_FIN_WAIT) && connection->state == TCP_FIN_WAIT &&
		(connection->flags & CONN_NO_OUTPUT));
}

/* Whether the connection's destination was deleted, and such connections are to end at once (expire_nodest_conn). */
static __always_inline int is_orphan(struct connection *connection)
{
	struct destination *destination;

	if (!settings.expire_nodest_conn)
		return 0;
	destination = destination_get(connection->destination);
	return destination && !(destination->flags & DEST_AVAILABLE);
}

/* The connection of the reply that an ICMP error from a client's side quotes: number + 1, or 0. */
static __always_inline __u32 quoted_connection(struct packet *packet, struct found *found)
{
	struct error_scratch *error = error_scratch_get();
	__u32 number;

	if (!error)
		return 0;
	if (packet->flow->fragment != FRAGMENT_NONE || quoted_flow(packet, &error->quoted)) {
		error->quoted.family = 0; /* that of no service */
		return 0;
	}
	number = connection_lookup(&error->quoted, 0);
	found->connection = number ? connection_get(number - 1) : 0;
	return number;
}

/* A packet from a client's side: of its connection, or of one that it opens; or an ICMP error about one. (Whether it is
 * an error, or a fragment, is a number here and no pointer to scratch space: live pointers would take registers from the
 * fast path, which was 8 ns slower with two of them.) */
static __always_inline enum outcome direct_request(struct packet *packet)
{
	struct flow *flow = packet->flow;
	int error = flow->flags & FLOW_ICMP_ERROR;
	struct connection *connection;
	struct destination *destination;
	struct choice choice = {};
	struct found found = {};
	enum outcome outcome;
	__u64 former = 0;
	enum hop hop;

	choice.number = error ? quoted_connection(packet, &found) : connection_find(flow, 0, &found);
	connection = found.connection;
	if (choice.number && connection && !error && unlikely(is_reused(connection, flow) || is_orphan(connection))) {
		former = connection_replace(choice.number - 1, flow->now);
		choice.number = 0;
	}
	if (likely(choice.number && connection)) {
		choice_by_connection(&choice, connection);
	} else if (!fragment_follow(flow, &choice)) {
		outcome = error ? open_by_error(&choice) : open_connection(flow, &choice);
		if (unlikely(former))
			connection_replaced(former);
		if (outcome != OUTCOMES)
			return outcome;
		connection = choice.number ? connection_get(choice.number - 1) : 0;
		if (!choice.number && unlikely(flow->fragment == FRAGMENT_FIRST))
			fragment_remember(flow, flow->id, &choice);
	}
	destination = destination_get(choice.destination);
	if (!destination)
		return DROP_ERROR;
	if (unlikely(!(destination->flags & DEST_AVAILABLE)) && !error)
		return DROP_DESTINATION_GONE;
	hop = destination_hop(packet, destination);
	if (packet->hook == HOOK_XDP && !xdp_can(packet, destination, choice.method, hop))
		return PASS_TO_TC;
	if (!is_counted(packet)) {
		count_request(destination, flow->length);
		if (connection && !error)
			connection_touch(connection, choice.number - 1, flow, FROM_CLIENT);
	}
	return forward(packet, &choice, destination, hop);
}

/* Forwards a reply of NAT or FULLNAT to its client. */
static __always_inline enum outcome reply_forward(struct packet *packet, __u32 number, const struct found *found,
						  struct hop_scratch *scratch)
{
	struct connection *connection = found->connection;
	struct flow *flow = packet->flow;
	int full = connection->method == METHOD_FULLNAT;
	struct translation change;
	enum outcome outcome = OUTCOMES;
	enum ttl_change ttl;
	enum hop hop;

	if (flow->ttl <= 1)
		return PASS_TTL;
	hop = full ? client_hop(packet, &connection->client, scratch)
		   : connection_hop(packet, &connection->client, scratch, &connection->reply_hop);
	if (hop == HOP_DEFER_TO_TC || (hop == HOP_LOCAL && packet->hook == HOOK_XDP))
		return PASS_TO_TC;
	if (hop == HOP_NO_ROUTE)
		return DROP_NO_ROUTE;
	if (unlikely(scratch->route.mtu && flow->length > scratch->route.mtu) && hop != HOP_LOCAL) {
		if (packet->hook == HOOK_XDP)
			return PASS_TO_TC;
		flow->mtu = scratch->route.mtu;
		outcome = fit_mtu_tc(packet->ctx, flow, 0);
		if (outcome != OUTCOMES && outcome != FORWARD_CUT)
			return outcome;
	}
	if (!is_counted(packet)) {
		count_reply(found->server, flow->length);
		connection_touch(connection, number - 1, flow, FROM_SERVER);
	}
	if (outcome == FORWARD_CUT)
		return outcome;
	translate_from(&change, flow, &connection->virtual, connection->vport);
	if (is_untranslatable(flow, &change))
		return DROP_FRAGMENT;
	ttl = hop == HOP_LOCAL ? TTL_KEEP : TTL_DECREMENT;
	if (translate(packet, &change, full ? TTL_KEEP : ttl))
		return DROP_ERROR;
	if (full) {
		translate_back(&change, flow, connection);
		if (translate(packet, &change, ttl))
			return DROP_ERROR;
	}
	return send_to_client(packet, scratch, hop, full ? FORWARD_FULLNAT_REPLY : FORWARD_NAT_REPLY);
}

/* A packet from a real server's side: a reply of NAT or FULLNAT, or an ICMP error about a request. */
static __always_inline enum outcome direct_reply(struct packet *packet)
{
	struct hop_scratch *scratch;
	struct error_scratch *error;
	struct found found = {};
	__u32 number;

	if (packet->flow->flags & FLOW_ICMP_ERROR) {
		error = error_scratch_get();
		if (!error || packet->flow->fragment != FRAGMENT_NONE || quoted_flow(packet, &error->quoted))
			return PASS_NOT_OURS;
		number = connection_lookup(&error->quoted, 1);
		found.connection = number ? connection_get(number - 1) : 0;
		if (!found.connection)
			reply_find(&error->quoted, &found);
		return found.connection ? return_error(packet, found.connection, error) : PASS_NOT_OURS;
	}
	scratch = hop_scratch_get();
	if (!scratch)
		return PASS_NOT_OURS;
	number = connection_find(packet->flow, 1, &found);
	if (!found.connection)
		number = reply_find(packet->flow, &found);
	return number && found.connection ? reply_forward(packet, number, &found, scratch) : PASS_NOT_OURS;
}

__noinline int reply_xdp(struct xdp_md *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP, .flow = flow};

	return flow ? direct_reply(&packet) : DROP_ERROR;
}

__noinline int reply_tc(struct __sk_buff *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	return flow ? direct_reply(&packet) : DROP_ERROR;
}

__noinline int refuse_tc(struct __sk_buff *ctx, struct flow *flow, int outcome)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	return flow ? refuse(&packet, outcome) : DROP_ERROR;
}

/* Direct server return: the flow of the request that is replied to. */
struct dsr_scratch {
	struct flow request;
};
PER_CPU_SCRATCH(dsr_scratch)

/* The connection of which a real server that has the VIP itself sends this reply. */
static __always_inline struct connection *dsr_connection(struct packet *packet, struct flow *request)
{
	__u32 number;

	*request = *packet->flow;
	flow_reverse(request);
	request->now = now_ticks();
	number = connection_lookup(request, 0);
	return number ? connection_get(number - 1) : 0;
}

/* clamp_mss: the MSS that the reply to a tunnelled SYN announces is that of the segments which the client will send
 * through the tunnel. */
static __always_inline void dsr_clamp_mss(struct packet *packet, struct connection *connection)
{
	struct destination *destination = destination_get(connection->destination);

	if (connection->method == METHOD_TUN && packet->flow->protocol == PROTO_TCP &&
	    (packet->flow->flags & FLOW_SYN) && destination && destination->mtu)
		clamp_mss(packet, tunnel_mss(packet->flow, destination));
}

/* A packet from a virtual address, which a real server with DR or TUN sends. To a client on this host it must be
 * redirected to lo, since the host takes its source for an address of its own. To others the host forwards it, if it
 * passes here at all. */
static __always_inline enum outcome dsr_return(struct packet *packet)
{
	struct flow *flow = packet->flow;
	struct hop_scratch *scratch = hop_scratch_get();
	struct dsr_scratch *dsr = dsr_scratch_get();
	struct connection *connection;

	if (!scratch || !dsr || ingress_ifindex(packet) == LOOPBACK || flow->fragment != FRAGMENT_NONE ||
	    parse_transport(packet))
		return PASS_NOT_OURS;
	if (packet->hook == HOOK_XDP && !(flow->flags & FLOW_SYN))
		return PASS_NOT_OURS; /* there is no MSS to clamp, and TC does the rest */
	connection = dsr_connection(packet, &dsr->request);
	if (!connection || connection->method == METHOD_NAT || connection->method == METHOD_FULLNAT)
		return PASS_NOT_OURS;
	if (unlikely(settings.clamp_mss))
		dsr_clamp_mss(packet, connection);
	if (packet->hook == HOOK_XDP)
		return PASS_NOT_OURS;
	flow->now = dsr->request.now;
	return client_hop(packet, &flow->daddr, scratch) == HOP_LOCAL ? redirect_to_lo(packet, FORWARD_TO_HOST)
								      : PASS_NOT_OURS;
}

__noinline int dsr_xdp(struct xdp_md *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP, .flow = flow};

	return flow ? dsr_return(&packet) : DROP_ERROR;
}

__noinline int dsr_tc(struct __sk_buff *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	return flow ? dsr_return(&packet) : DROP_ERROR;
}

__noinline int outer_fragment_tc(struct __sk_buff *ctx, struct flow *flow)
{
	struct packet packet = {.ctx = ctx, .hook = HOOK_TC, .flow = flow};

	if (!flow)
		return DROP_ERROR;
	flow->now = now_ticks();
	return tun_forward_fragment(&packet);
}

static __always_inline int is_balanced(__u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_UDP || protocol == PROTO_SCTP;
}

static __always_inline int is_icmp(__u8 protocol)
{
	return protocol == PROTO_ICMP || protocol == PROTO_ICMPV6;
}

static __always_inline int may_be_reply(const struct flow *flow)
{
	return (flow->flags & FLOW_ICMP_ERROR) || filter_has(&flow->saddr, FILTER_RIP);
}

static __always_inline int may_be_dsr(const struct packet *packet)
{
	return is_balanced(packet->flow->protocol) && (packet->hook == HOOK_TC || settings.clamp_mss) &&
	       filter_has(&packet->flow->saddr, FILTER_VIP);
}

/* What becomes of the packet. */
static __always_inline enum outcome direct(struct packet *packet)
{
	struct flow *flow = packet->flow;
	int may_be_request;
	enum outcome outcome;

	outcome = parse_network(packet);
	if (outcome != OUTCOMES)
		return outcome;
	if (packet->hook == HOOK_TC && unlikely(flow->flags & FLOW_OUTER_FRAGMENT))
		return outer_fragment_tc(packet->ctx, flow);
	if (likely(is_balanced(flow->protocol))) {
		may_be_request = settings.fwmark_services || filter_has(&flow->daddr, FILTER_VIP);
		if (!may_be_request && !filter_has(&flow->saddr, FILTER_RIP))
			return PASS_NOT_OURS;
		if (parse_transport(packet))
			return PASS_MALFORMED;
	} else {
		/* An ICMP error is about another packet, whose addresses may be ours whatever its own are. */
		if (!is_icmp(flow->protocol))
			return PASS_NOT_OURS;
		if (parse_transport(packet))
			return PASS_MALFORMED;
		if (!(flow->flags & FLOW_ICMP_ERROR))
			return PASS_NOT_OURS;
		may_be_request = 1;
	}
	flow->now = now_ticks();
	if (unlikely(flow->fragment != FRAGMENT_NONE) && fragment_ports(flow))
		return DROP_FRAGMENT;
	if (may_be_request) {
		outcome = direct_request(packet);
		if (outcome != PASS_NOT_OURS || !may_be_reply(flow))
			return outcome;
	}
	if (packet->hook == HOOK_XDP)
		return reply_xdp(packet->ctx, flow);
	outcome = reply_tc(packet->ctx, flow);
	if (outcome == PASS_NOT_OURS && unlikely(flow->flags & FLOW_ICMP_ERROR))
		outcome = return_from_tunnel(packet->ctx, flow);
	return outcome;
}

static __always_inline int process(struct packet *packet)
{
	enum outcome outcome;

	if (!settings.services)
		return leave(packet, PASS_NOT_OURS);
	if (unlikely(settings.trace))
		trace_arrival(packet);
	outcome = direct(packet);
	if (outcome == PASS_NOT_OURS && unlikely(may_be_dsr(packet)))
		outcome = packet->hook == HOOK_XDP ? dsr_xdp(packet->ctx, packet->flow)
						   : dsr_tc(packet->ctx, packet->flow);
	if (unlikely(outcome >= REFUSE_NO_DESTINATION && outcome <= REFUSE_TOO_BIG))
		outcome = packet->hook == HOOK_XDP ? PASS_TO_TC : refuse_tc(packet->ctx, packet->flow, outcome);
	if (unlikely(settings.trace))
		trace_departure(packet, outcome);
	return leave(packet, outcome);
}

SEC("xdp")
int director_xdp(struct xdp_md *ctx)
{
	struct flow flow = {.verdict = XDP_DROP};
	struct packet packet = {.ctx = ctx, .hook = HOOK_XDP, .flow = &flow};

	return process(&packet);
}

enum { HEADERS = 192 }; /* bytes, enough for every header that is read */

SEC("tc")
int director_tc(struct __sk_buff *skb)
{
	struct flow flow = {.mark = skb->mark, .verdict = TC_ACT_SHOT};
	struct packet packet = {.ctx = skb, .hook = HOOK_TC, .flow = &flow};

	if (unlikely(skb->vlan_present)) /* untagged by the kernel, and received again on the VLAN's interface */
		return leave(&packet, PASS_VLAN);
	if (skb->data_end - skb->data < HEADERS && skb->data_end - skb->data < skb->len)
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	if (unlikely(skb->tc_index == FRAG_INNER || skb->tc_index == FRAG_OUTER)) {
		flow.flags = skb->tc_index == FRAG_INNER ? FLOW_COUNTED : FLOW_COUNTED | FLOW_OUTER_FRAGMENT;
		skb->tc_index = 0;
	}
	return process(&packet);
}
