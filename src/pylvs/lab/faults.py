# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs lab break` and `pylvs lab fix`: what goes wrong with real machines, made on purpose, and undone.

A fault is data: the commands that make it and those that undo it, with placeholders that `words` fills in.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pylvs.errors import PylvsError
from pylvs.host import testbed
from pylvs.lab import build
from pylvs.lab.httpd import binary
from pylvs.lab.steps import SWITCH, add_destination, directory, service
from pylvs.lab.topology import METHODS, Port, Topology, machine_address
from pylvs.model import ForwardingMethod

DR, TUN, NAT, FULLNAT = METHODS["dr"], METHODS["tun"], METHODS["nat"], METHODS["fullnat"]
ANY = (DR, TUN, NAT, FULLNAT)
VICTIM, SPARE, DIRECTOR, CLIENT = "node03", "node04", "node01", "client"
PATIENCE = 30.0  # seconds for an httpd to stop or to start
FIXING = ("fix", "mend")  # two names of one command

Commands = tuple[tuple[str, str], ...]  # machine, what a person types there


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: what goes wrong, the commands that make and undo it, and how `pylvs doctor` names it (`named`).

    `asked` is the machine on which the doctor names it, `culprit` the one that has it. `second_nic` connects the victim
    to its segment once more, first; `mode` is the hook that the lab must have been made with. After the commands the
    victim's httpd listens at `port` (0: not at all; None: they do not concern it).
    """

    what: str
    breaks: Commands
    fixes: Commands
    named: str
    methods: tuple[ForwardingMethod, ...] = ANY
    asked: str = DIRECTOR
    culprit: str = VICTIM
    second_nic: bool = False
    port: int | None = None
    mode: str = ""


def _sysctl(knob: str, value: int) -> str:
    return f"sysctl -qw net.ipv4.conf.all.{knob}={value} net.ipv4.conf.eth0.{knob}={value}"


def _listen(old: str, new: str) -> Commands:
    """Another `Listen` line in the victim's httpd.conf, and a restart."""
    return (
        (VICTIM, "{httpd} -f {conf} -k stop"),
        (VICTIM, f"sed -i 's/^Listen {old}$/Listen {new}/' {{conf}}"),
        (VICTIM, "{httpd} -f {conf} -k start"),
    )


FORGET = ((CLIENT, "ip neigh flush all"),)  # the MAC address that it learned from the wrong machine
NFT_INPUT = (
    "nft add table inet fault",
    "nft add chain inet fault input '{{ type filter hook input priority 0; }}'",
    "nft add rule inet fault input tcp dport 80 drop",
)
NFT_ARP = (
    "nft add table arp fault",
    "nft add chain arp fault input '{{ type filter hook input priority 0; }}'",
    "nft add rule arp fault input arp operation request drop",
)
NFT_INVALID = (
    "nft add table inet fault",
    "nft add chain inet fault passing '{{ type filter hook {hook} priority 0; }}'",
    "nft add rule inet fault passing ct state invalid drop",
)
# Lets a director forward replies from its own VIP.
PASS_ON = "sysctl -qw net.ipv4.ip_forward={0} net.ipv4.conf.eth0.accept_local={0}"
FORWARDING_OF_LO = "sysctl -qw net.ipv4.conf.lo.forwarding=1"  # ip_forward=0 switches it off too


def _invalid(machine: str, hook: str) -> Commands:
    """A firewall with conntrack that replies pass and requests do not."""
    return tuple((machine, line.replace("{hook}", hook)) for line in NFT_INVALID)


FAULTS: dict[str, Fault] = {
    "arp-ignore": Fault(
        "a real server answers ARP for the VIP (arp_ignore 0)",
        ((VICTIM, _sysctl("arp_ignore", 0)),), ((VICTIM, _sysctl("arp_ignore", 1)), *FORGET), "arp_answered", (DR,),
    ),
    "arp-announce": Fault(
        "a real server names the VIP in its ARP requests (arp_announce 0)",
        ((VICTIM, _sysctl("arp_announce", 0)),), ((VICTIM, _sysctl("arp_announce", 2)), *FORGET),
        "arp_announced", (DR,),
    ),
    "vip-missing": Fault(
        "a real server does not have the VIP on its lo",
        ((VICTIM, "ip addr del {vip}/32 dev lo"),), ((VICTIM, "ip addr add {vip}/32 dev lo"),),
        "vip_missing", (DR, TUN),
    ),
    "vip-with-network": Fault(
        "a real server has the VIP on lo with the mask of its network, /24",
        ((VICTIM, "ip addr del {vip}/32 dev lo"), (VICTIM, "ip addr add {vip}/{bits} dev lo")),
        ((VICTIM, "ip addr del {vip}/{bits} dev lo"), (VICTIM, "ip addr add {vip}/32 dev lo")),
        "vip_with_network", (DR,),
    ),
    "rp-filter": Fault(
        "a real server answers clients by a second interface, and its rp_filter is strict",
        ((VICTIM, "ip addr add {second} dev eth1"), (VICTIM, "ip route add {client} dev eth1 src {rip}"),
         (VICTIM, "sysctl -qw net.ipv4.conf.eth0.rp_filter=1")),
        ((VICTIM, "sysctl -qw net.ipv4.conf.eth0.rp_filter=0"), (VICTIM, "ip link del eth1"), *FORGET),
        "strict_rp_filter", (DR,), asked=VICTIM, second_nic=True,
    ),
    "httpd-stopped": Fault(
        "a real server's httpd has stopped",
        ((VICTIM, "{httpd} -f {conf} -k stop"),), ((VICTIM, "{httpd} -f {conf} -k start"),), "service_stopped", port=0,
    ),
    "httpd-bound": Fault(
        "a real server's httpd listens at the RIP only",
        _listen("0.0.0.0:80", "{rip}:80"), _listen("{rip}:80", "0.0.0.0:80"), "bound_to_rip", (DR, TUN), port=80,
    ),
    "port-mismatch": Fault(
        "a real server's httpd listens at port 8080",
        _listen("0.0.0.0:80", "0.0.0.0:8080"), _listen("0.0.0.0:8080", "0.0.0.0:80"), "port_mismatch", port=8080,
    ),
    "firewall": Fault(
        "a firewall on a real server drops the service's packets",
        tuple((VICTIM, line) for line in NFT_INPUT), ((VICTIM, "nft delete table inet fault"),),
        "firewall_on_real_server",
    ),
    "firewall-director": Fault(
        "a firewall on the director drops what asks it for the VIP",
        (*((DIRECTOR, line) for line in NFT_ARP), *FORGET), ((DIRECTOR, "nft delete table arp fault"),),
        "firewall_on_director", culprit=DIRECTOR,
    ),
    "vip-hidden": Fault(
        "the director hides the VIP as if it were a real server",
        ((DIRECTOR, "ip addr del {vip}/{bits} dev eth0"), (DIRECTOR, "ip addr add {vip}/32 dev lo"),
         (DIRECTOR, "sysctl -qw net.ipv4.conf.all.arp_ignore=1"), *FORGET),
        ((DIRECTOR, "sysctl -qw net.ipv4.conf.all.arp_ignore=0"), (DIRECTOR, "ip addr del {vip}/32 dev lo"),
         (DIRECTOR, "ip addr add {vip}/{bits} dev eth0")),
        "vip_unanswered", culprit=DIRECTOR,
    ),
    "server-down": Fault(
        "a real server is off its network",
        ((VICTIM, "ip link set eth0 down"),), ((VICTIM, "ip link set eth0 up"), (VICTIM, "{default}")),
        "real_server_down",
    ),
    "wrong-rip": Fault(
        "a destination's address has the document's slip, 227 for 247",
        ((DIRECTOR, "{delete}"), (DIRECTOR, "{add_wrong}")), ((DIRECTOR, "{delete_wrong}"), (DIRECTOR, "{add}")),
        "wrong_rip", culprit=DIRECTOR,
    ),
    "wrong-neighbour": Fault(
        "the director's neighbour table has a wrong hardware address for a real server",
        ((DIRECTOR, "ip neigh replace {rip} lladdr 02:00:00:00:00:99 dev {near} nud permanent"),),
        ((DIRECTOR, "ip neigh del {rip} dev {near}"),), "wrong_neighbour", (DR, NAT), culprit=DIRECTOR,
    ),
    "no-way-to-client": Fault(
        "the director has no route to its clients, for the replies of NAT",
        ((DIRECTOR, "ip route add unreachable {client}"),), ((DIRECTOR, "ip route del unreachable {client}"),),
        "packets_dropped", (NAT,), culprit=DIRECTOR,
    ),
    "nat-return": Fault(
        "a real server of NAT sends its replies elsewhere",
        ((VICTIM, "ip route replace default via {first}"),), ((VICTIM, "ip route replace default via {director}"),),
        "nat_return", (NAT,),
    ),
    "tunnel-mtu": Fault(
        "the path MTU to a real server is smaller than its tunnel's packets",
        (("router", "ip route add {rip} dev eth1 mtu lock 1400"),), (("router", "ip route del {rip} dev eth1"),),
        "tunnel_mtu", (TUN,),
    ),
    "decapsulator-missing": Fault(
        "a real server has the VIP on its lo, and nothing there unwraps the tunnel",
        ((VICTIM, "pylvs realserver leave {vip}"), (VICTIM, "ip addr add {vip}/32 dev lo")),
        ((VICTIM, "ip addr del {vip}/32 dev lo"),
         (VICTIM, "pylvs realserver join {vip} --method tun --interface eth0")),
        "decapsulator_missing", (TUN,),
    ),
    "conntrack": Fault(
        "a router that sees replies and no requests drops what conntrack calls INVALID",
        _invalid("router", "forward"), (("router", "nft delete table inet fault"),), "conntrack_invalid", (TUN,),
        culprit="router",
    ),
    "conntrack-director": Fault(
        "the director passes a real server's replies on, and its firewall drops what conntrack calls INVALID",
        ((DIRECTOR, PASS_ON.format(1)), (VICTIM, "ip route add {client} via {director}"),
         *_invalid(DIRECTOR, "prerouting")),
        ((DIRECTOR, "nft delete table inet fault"), (VICTIM, "ip route del {client}"), (DIRECTOR, PASS_ON.format(0)),
         (DIRECTOR, FORWARDING_OF_LO)),
        "conntrack_invalid", (DR,), culprit=DIRECTOR,
    ),
    "replies-by-director": Fault(
        "a real server sends its replies by the director, as with NAT",
        ((VICTIM, "ip route add {client} via {director}"),), ((VICTIM, "ip route del {client}"),),
        "replies_by_director", (DR,),
    ),
    "offload-checksum": Fault(
        "the client offloads its checksums to a virtual NIC that fills none in, and XDP passes them on",
        ((CLIENT, "ethtool -K eth0 tx on"),), ((CLIENT, "ethtool -K eth0 tx off"),),
        "xdp_offloads", (DR, NAT), culprit=CLIENT, mode="xdp",
    ),
    "offload-gro": Fault(
        "the switch does not take what the director's XDP sends: no GRO at its end of the cable",
        ((SWITCH, "ethtool -K {switch_port} gro off"),), ((SWITCH, "ethtool -K {switch_port} gro on"),),
        "xdp_offloads", (DR, NAT), culprit=DIRECTOR, mode="xdp",
    ),
    "vip-claimed": Fault(
        "a second machine claims the VIP",
        ((SPARE, "ip addr add {vip}/{bits} dev eth0"),), ((SPARE, "ip addr del {vip}/{bits} dev eth0"), *FORGET),
        "vip_claimed", (DR,), culprit=SPARE,
    ),
    "vip-not-here": Fault(
        "the director does not have the VIP",
        ((DIRECTOR, "ip addr del {vip}/{bits} dev eth0"), *FORGET), ((DIRECTOR, "ip addr add {vip}/{bits} dev eth0"),),
        "vip_not_here", culprit=DIRECTOR,
    ),
    "no-destination": Fault(
        "the service has no destination",
        ((DIRECTOR, "{delete}"), (DIRECTOR, "{delete_first}")), ((DIRECTOR, "{add_first}"), (DIRECTOR, "{add}")),
        "no_destination", culprit=DIRECTOR,
    ),
    "forwarding-off": Fault(
        "somebody switches forwarding off on the director, and with it what the data plane asks of lo",
        ((DIRECTOR, "sysctl -qw net.ipv4.ip_forward=1"), (DIRECTOR, "sysctl -qw net.ipv4.ip_forward=0")),
        ((DIRECTOR, FORWARDING_OF_LO),), "no_forwarding_of_lo", (DR, TUN), culprit=DIRECTOR,
    ),
    "detached": Fault(
        "the data plane is not attached to the director's interface",
        ((DIRECTOR, "pylvs detach eth0"),), ((DIRECTOR, "pylvs attach eth0"),), "not_attached", culprit=DIRECTOR,
    ),
}  # fmt: skip


def words(lab: Topology) -> dict[str, str]:
    """The values of the placeholders in the faults' commands."""
    victim, spare, first = lab[VICTIM], lab[SPARE], lab.real_servers[0]
    wrong = str(victim.address).replace(".247.", ".227.").replace(".248.", ".228.")
    add = add_destination(lab, victim)
    delete = f"pylvsadm -d {service(lab)} -r"
    gateway = f"ip route add default via {victim.gateway}" if victim.gateway else "true"
    return {
        "vip": str(lab.vip),
        "rip": str(victim.address),
        "first": str(first.address),
        "spare": str(spare.address),
        "client": str(lab.client.address),
        "director": str(lab.director.ports[-1].address.ip),
        "near": lab.director.ports[-1].interface,
        "bits": str(lab.director.ports[0].address.network.prefixlen),
        "second": str(_second_nic(lab).address),
        "default": gateway,
        "add": add,
        "add_first": add_destination(lab, first),
        "add_wrong": add.replace(f"-r {victim.address}", f"-r {wrong}"),
        "delete": f"{delete} {victim.address}",
        "delete_first": f"{delete} {first.address}",
        "delete_wrong": f"{delete} {wrong}",
        "switch_port": build.switch_port(DIRECTOR, lab.director.ports[0]),
        "conf": str(directory(lab, VICTIM) / "httpd.conf"),
        "httpd": binary(),
    }


def _second_nic(lab: Topology) -> Port:
    port = lab[VICTIM].ports[0]
    net = 247 if port.segment in ("lan", "front") else 248
    return Port("eth1", port.segment, machine_address(net, 146, lab.options.ipv6))


def find(lab: Topology, name: str) -> Fault:
    """The fault of this name; PylvsError if there is none, or this lab cannot have it."""
    if lab.options.ipv6:
        raise PylvsError("the faults are those of an IPv4 lab; run: pylvs lab up")
    if name not in FAULTS:
        raise PylvsError(f"unknown fault '{name}'; accepted: {', '.join(FAULTS)}")
    fault = FAULTS[name]
    if lab.options.method not in fault.methods:
        wanted = "|".join(word for word, method in METHODS.items() if method in fault.methods)
        raise PylvsError(f"this lab's method cannot have the fault '{name}'; run: pylvs lab up --method {wanted}")
    if fault.mode and lab.options.mode != fault.mode:
        raise PylvsError(f"the fault '{name}' is one of another hook; run: pylvs lab up --mode {fault.mode}")
    return fault


def present(lab: Topology) -> list[str]:
    """The faults that were made and not undone."""
    try:
        return (directory(lab) / "faults").read_text().split()
    except OSError:
        return []


def _remember(lab: Topology, names: Sequence[str]) -> None:
    (directory(lab) / "faults").write_text("\n".join(names))


def break_(lab: Topology, name: str) -> Commands:
    """Make a fault; return the commands that were run."""
    fault = find(lab, name)
    if name in present(lab):
        raise PylvsError(f"the lab has the fault '{name}' already; run: pylvs lab fix")
    _remember(lab, [*present(lab), name])
    if fault.second_nic:
        _plug(lab)
    return _run(lab, fault.breaks, fault.port)


def fix(lab: Topology) -> Commands:
    """Undo every fault that was made, the last first; return the commands that were run."""
    done: list[tuple[str, str]] = []
    for name in reversed(present(lab)):
        fault = FAULTS[name]
        done += _run(lab, fault.fixes, None if fault.port is None else lab.port)
        _remember(lab, [other for other in present(lab) if other != name])
    return tuple(done)


def _plug(lab: Topology) -> None:
    port, switch = _second_nic(lab), lab.namespace("switch")
    testbed.plug(testbed.Cable(switch, port.segment, f"{VICTIM}-2nd", lab.namespace(VICTIM), port.interface, port.mac))
    build.run(lab, VICTIM, ["ip", "link", "set", port.interface, "up"])


def _run(lab: Topology, commands: Commands, port: int | None) -> Commands:
    """Run the commands; between stopping and starting an httpd, wait for it."""
    filled = tuple((machine, line.format(**words(lab))) for machine, line in commands)
    for machine, line in filled:
        build.run(lab, machine, shlex.split(line))
        if line.endswith("-k stop"):
            _await(lab, None)
    if port is not None:
        _await(lab, port or None)
    return filled


def _await(lab: Topology, port: int | None) -> None:
    """Wait until the victim's httpd listens at `port`, or is gone."""
    deadline = time.monotonic() + PATIENCE
    while True:
        listening = build.run(lab, VICTIM, ["ss", "-Hltn"])
        if (f":{port} " in listening) if port else not testbed.processes([lab.namespace(VICTIM)]):
            return
        if time.monotonic() > deadline:
            raise PylvsError(f"the httpd of {VICTIM} did not {'start' if port else 'stop'}; see its error.log")
        time.sleep(testbed.POLL)


def run(argv: Sequence[str]) -> int:
    """Run `pylvs lab break [FAULT]`, `pylvs lab fix` or `pylvs lab mend`, which is the same as fix."""
    arguments = parser().parse_args(argv)
    lab = build.require(arguments.name)
    if arguments.command in FIXING:
        _show(fix(lab) or (("", "# nothing was broken"),))
    elif arguments.fault is None:
        for name, fault in FAULTS.items():
            methods = ", ".join(word for word, method in METHODS.items() if method in fault.methods)
            print(f"{name:<22}{fault.what}  ({methods}{fault.mode and ', --mode ' + fault.mode})")
    else:
        _show(break_(lab, arguments.fault))
        name = "" if arguments.name == "lab" else f" --name {arguments.name}"
        print(f"\nNow ask: pylvs lab exec{name} {FAULTS[arguments.fault].asked} pylvs doctor")
    return 0


def parser() -> argparse.ArgumentParser:
    """The grammar of the two commands."""
    top = argparse.ArgumentParser(prog="pylvs lab", description="Make faults on purpose, and undo them.")
    commands = top.add_subparsers(dest="command", required=True)
    breaks = commands.add_parser("break", help="make a fault; without a name: list them")
    breaks.add_argument("fault", nargs="?")
    fixes = commands.add_parser(FIXING[0], aliases=FIXING[1:], help="undo every fault that was made")
    for command in (breaks, fixes):
        command.add_argument("--name", default="lab", help="which lab (default: lab)")
    return top


def _show(commands: Commands) -> None:
    for machine, line in commands:
        print(f"{machine:<8}{line}")
