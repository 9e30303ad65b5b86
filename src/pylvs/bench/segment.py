# SPDX-License-Identifier: GPL-2.0-or-later
"""One Ethernet segment in namespaces: clients, two real servers, and a director for each scenario."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from pylvs.bench import keeper, peers
from pylvs.errors import PylvsError
from pylvs.host import command, netns, testbed

RIPS = ["10.99.1.1", "10.99.1.2"]
PATIENCE = 10.0  # seconds until a program answers
LARGE = 16 << 20  # bytes of the file that is downloaded
SYSCTL = ("net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_max_syn_backlog=4096", "net.core.somaxconn=4096")


class Scenario(NamedTuple):
    """How clients reach the real servers. `back`: replies pass the director; `hook`: of pylvs."""

    name: str
    kind: str
    back: bool = False
    hook: str = ""


SCENARIOS = (
    Scenario("direct", "direct"),
    Scenario("DR, XDP", "pylvs", hook="xdp"),
    Scenario("DR, TC", "pylvs", hook="tc"),
    Scenario("NAT, TC", "pylvs", back=True, hook="tc"),
    Scenario("nftables DNAT", "nftables", back=True),
    Scenario("HAProxy", "haproxy"),
    Scenario("nginx stream", "nginx"),
)


class Segment:
    """The running network, as a context: everything is gone when it is left."""

    def __init__(self, scenarios: tuple[Scenario, ...] = SCENARIOS) -> None:
        self.scenarios = scenarios
        self._name = keeper.mine()
        self._undo = ExitStack()
        self._ports = 0

    def __enter__(self) -> Self:
        try:
            keeper.take_away_dead()
            self._folder = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix=self._name)))
            self._folder.chmod(0o755)
            self._build()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def namespace(self, machine: str) -> str:
        return self._name + machine

    def targets(self, scenario: Scenario) -> list[str]:
        """The addresses that clients connect to in this scenario."""
        return RIPS if scenario.kind == "direct" else [self._vip(scenario)]

    def client(self, scenario: Scenario) -> str:
        """The namespace of the client: XDP sees packets as on a wire, with their checksums filled in."""
        return self.namespace("client-xdp" if scenario.hook == "xdp" else "client")

    def _number(self, scenario: Scenario) -> int:
        return self.scenarios.index(scenario) + 1

    def _vip(self, scenario: Scenario) -> str:
        return f"10.99.3.{self._number(scenario)}"

    def _build(self) -> None:
        self._undo.callback(self._end)
        testbed.create_switch(self.namespace("switch"), ["lan"])
        self._machine("client", "10.99.4.200")
        self._machine("client-xdp", "10.99.4.201")
        self._in("client-xdp", "ethtool -K eth0 tx off")
        (self._folder / "large").write_bytes(os.urandom(LARGE))
        for number, rip in enumerate(RIPS, 1):
            self._real_server(f"real{number}", rip)
        for scenario in self.scenarios:
            if scenario.kind != "direct":
                self._director(scenario)
            self._check(scenario)

    def _machine(self, name: str, address: str) -> str:
        """Make a machine with one interface on the segment; return the switch's end of its cable."""
        self._ports += 1
        port, mac = f"p{self._ports}", f"02:99:00:00:00:{self._ports:02x}"
        testbed.create(self.namespace(name))
        testbed.plug(testbed.Cable(self.namespace("switch"), "lan", port, self.namespace(name), "eth0", mac))
        self._in(name, f"ip addr add {address}/16 dev eth0")
        self._in(name, "ip link set eth0 up")
        with netns.inside(self.namespace(name)):
            command.run(["sysctl", "-qw", *SYSCTL])
        return port

    def _in(self, machine: str, line: str) -> str:
        """Run a command on a machine."""
        with netns.inside(self.namespace(machine)):
            return command.run(line.split())

    def _real_server(self, name: str, rip: str) -> None:
        self._machine(name, rip)
        self._in(name, "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
        home = self._home(name)
        (home / "large").hardlink_to(self._folder / "large")
        self._serve(name, "nginx", "-c", peers.real_server(home, name))

    def _director(self, scenario: Scenario) -> None:
        number, vip = self._number(scenario), self._vip(scenario)
        name, dip, cip = f"director{number}", f"10.99.2.{number}", f"10.99.4.{number}"
        port = self._machine(name, dip)
        self._in(name, f"ip addr add {vip}/32 dev eth0")
        client = self.client(scenario).removeprefix(self._name)
        self._in(client, f"ip addr add {cip}/16 dev eth0")
        self._in(client, f"ip route add {vip}/32 dev eth0 src {cip}")
        if scenario.back:
            self._route_back(name, cip, dip)
        getattr(self, f"_{scenario.kind}")(scenario, name, vip, port)

    def _route_back(self, director: str, cip: str, dip: str) -> None:
        """Replies to this client pass the director, as NAT needs it."""
        self._in(director, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0")
        self._in(director, "sysctl -qw net.ipv4.conf.eth0.send_redirects=0")
        for number in range(1, len(RIPS) + 1):
            self._in(f"real{number}", f"ip route add {cip}/32 via {dip}")

    def _pylvs(self, scenario: Scenario, name: str, vip: str, port: str) -> None:
        with netns.inside(self.namespace("switch")):  # veth takes redirected XDP frames only where its peer polls
            command.run(["ethtool", "-K", port, "gro", "on"])
        python = f"{sys.executable} -m"
        self._in(name, f"{python} pylvs attach --mode {scenario.hook}")
        self._undo.callback(self._in, name, f"{python} pylvs detach --unload")
        self._in(name, f"{python} pylvs.ipvsadm -A -t {vip}:80 -s rr")
        for number, rip in enumerate(RIPS, 1):
            self._in(name, f"{python} pylvs.ipvsadm -a -t {vip}:80 -r {rip} {'-m' if scenario.back else '-g'}")
            if not scenario.back:
                self._in(f"real{number}", f"ip addr add {vip}/32 dev lo")

    def _nftables(self, scenario: Scenario, name: str, vip: str, port: str) -> None:
        with netns.inside(self.namespace(name)):
            command.run(["nft", "-f", "-"], peers.nftables(vip, RIPS))

    def _haproxy(self, scenario: Scenario, name: str, vip: str, port: str) -> None:
        self._serve(name, "haproxy", "-db", "-f", peers.haproxy(vip, RIPS))

    def _nginx(self, scenario: Scenario, name: str, vip: str, port: str) -> None:
        self._serve(name, "nginx", "-c", peers.nginx(self._home(name), vip, RIPS))

    def _home(self, name: str) -> Path:
        home = self._folder / name
        home.mkdir(exist_ok=True)
        return home

    def _serve(self, machine: str, program: str, *options: str) -> None:
        """Start a program whose last option is the text of its configuration."""
        home = self._home(machine)
        configuration = home / f"{program}.conf"
        configuration.write_text(options[-1])
        path, environment = peers.find(program), peers.environment()
        with netns.inside(self.namespace(machine)), (home / "output").open("wb") as output:
            process = subprocess.Popen(
                [path, *options[:-1], str(configuration)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home,
            )
        self._undo.callback(_stop, process)

    def _check(self, scenario: Scenario) -> None:
        """Wait until both real servers have answered in this scenario."""
        deadline, wanted = time.monotonic() + PATIENCE, {f"real{number}" for number in range(1, len(RIPS) + 1)}
        seen: set[str] = set()
        while seen < wanted:
            for target in self.targets(scenario):
                seen |= {self._ask(scenario, target)} - {""}
            if time.monotonic() > deadline:
                answered = f"bench: {scenario.name}: only {', '.join(seen) or 'nobody'} answered"
                raise PylvsError(f"{answered}; last lines of its programs: {self._outputs()}")

    def _ask(self, scenario: Scenario, target: str) -> str:
        with netns.inside(self.client(scenario)):
            connection = http.client.HTTPConnection(target, 80, timeout=1)
            try:
                connection.request("GET", "/")
                return connection.getresponse().read().decode().strip()
            except OSError:
                time.sleep(testbed.POLL)
                return ""
            finally:
                connection.close()

    def _outputs(self) -> str:
        texts = (path.read_text(errors="replace").strip() for path in self._folder.glob("*/output"))
        return " · ".join(text.splitlines()[-1] for text in texts if text) or "nothing"

    def _end(self) -> None:
        keeper.take_away(self._name)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
