# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables with everything in them, as lines of `pylvsadm`, for packets to meet."""

from __future__ import annotations

from pylvs.table import marks
from tests.packets.cast import NAT_VIP, NAT_VIP6, TUN_VIP, TUN_VIP6, VIP, VIP6
from tests.packets.plane import Plane

OPTIONS = {6: "-t", 17: "-u", 132: "--sctp-service"}
# Ports of VIP (or VIP_6), and how each is served: options of the service, and of each destination.
SERVED: dict[int, tuple[str, tuple[str, ...]]] = {
    80: ("-s rr", ("REAL_1:80 -g", "REAL_2:80 -g")),
    81: ("-s rr", ()),
    82: ("-s wlc -p 60", ("REAL_1:82 -g", "REAL_2:82 -g -w 2")),
    83: ("-s rr", ("BACK_1:8080 --fullnat --local-address BACK",)),
    84: ("-s wrr", ("BACK_1:84 -i --tun-type gre --tun-csum", "BACK_2:84 -i --tun-type gre")),
    85: ("-s sh", ("BACK_1:85 -i", "BACK_2:85 -i")),
    86: (
        "-s mh",
        ("BACK_1:86 -i --tun-type gue --tun-port 6080 --tun-csum", "BACK_3:86 -i --tun-type gue --tun-port 6080"),
    ),
    87: ("-s lc", ("BACK_1:8080 -m", "BACK_2:87 -m")),
    88: ("-s lblcr", ("BACK_1:8080 -m -x 3 -y 1", "BACK_2:8080 -m -x 2")),
    89: ("-s rr -p 60", ("BACK_1:8080 -m", "BACK_3:8080 -m")),
    90: ("-s dh", ("FRONT:8080 -m",)),
    91: ("-s fo", ("NOWHERE:91 -g",)),
    92: ("-s rr", ("JUMBO:92 -g", "NOBODY:92 -g")),
    93: ("-s sed -p 60", ("BACK_2:8080 --fullnat --local-address BACK",)),
}
ONE_PACKET = {
    94: ("-s rr -o", ("REAL_1:94 -g", "REAL_2:94 -g")),
    95: ("-s rr -o", ("BACK_1:8080 -m",)),
    96: ("-s rr -o", ("BACK_1:8080 --fullnat --local-address BACK",)),
}
PORTS = (*SERVED, *ONE_PACKET)
REMOTE = (8080, 80, 87)  # ports of real servers
MARKED, MARKED_PORT0 = "10.0.0.104", "10.0.0.103"
MARK = 5


def lines(family: int) -> list[str]:
    """Every service of a family and its destinations."""
    found = []
    vip = "VIP" if family == 4 else "VIP_6"
    for protocol, option in OPTIONS.items():
        for port, (how, members) in (SERVED | (ONE_PACKET if protocol == 17 else {})).items():
            found.append(f"-A {option} {vip}:{port} {how}")
            found += [f"-a {option} {vip}:{port} -r {_of_family(member, family)}" for member in members]
    return found


def _of_family(member: str, family: int) -> str:
    """REAL_1 becomes REAL_1_6, and so on."""
    if family == 4:
        return member
    words = member.split(" ")
    name, colon, port = words[0].partition(":")
    words[0] = f"{name}_6{colon}{port}"
    if words[-2:-1] == ["--local-address"]:
        words[-1] = "fd01::1"
    return " ".join(words)


OTHERS = [
    "-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1:8080 -m",
    "-A -u NAT_VIP:80 -s rr", "-a -u NAT_VIP:80 -r BACK_1:8080 -m",
    "-A -t NAT_VIP_6:80 -s rr", "-a -t NAT_VIP_6:80 -r BACK_1_6:8080 -m",
    "-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1_6:80 -i",
    "-A -t TUN_VIP_6:80 -s rr", "-a -t TUN_VIP_6:80 -r BACK_1:80 -i",
    f"-A -t {MARKED_PORT0}:0 -s rr -p 30", f"-a -t {MARKED_PORT0}:0 -r BACK_2 -m",
    f"-A -f {MARK} -s rr", f"-a -f {MARK} -r REAL_3 -g",
]  # fmt: skip
VIPS_4 = (VIP, VIP, VIP, NAT_VIP, TUN_VIP, MARKED, MARKED_PORT0)
VIPS_6 = (VIP6, VIP6, VIP6, NAT_VIP6, TUN_VIP6)


def everything(plane: Plane) -> None:
    """Put all of it into the table."""
    for line in (*lines(4), *lines(6), *OTHERS):
        plane.adm(line)
    marks.change(plane.director, marks.expand(MARK, "all", f"{MARKED}/32", "80,100-120"), [])
