# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs attach --persist`: what is written makes the same director again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylvs.commands import persist
from pylvs.commands.main import main
from pylvs.dataplane.instance import Instance
from pylvs.host import iproute, netns
from pylvs.host import systemd as units
from pylvs.ipvsadm.script import script
from pylvs.table.director import Director

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace, so it needs root")

TABLE = """\
-A -t 10.0.0.1:80 -s rr -p 60 -M 255.255.255.0
-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 3 -x 9 -y 4
-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1
-A -f 7 -6 -s mh -b mh-port
-a -f 7 -6 -r [fd00::11]:80 -i -w 2 --tun-type gue --tun-port 6080
-A -u 10.0.0.1:53 -s sh
-a -u 10.0.0.1:53 -r 10.0.0.11:53 --fullnat -w 1 --local-address 10.0.0.2
"""
ORDER = "-t 10.0.0.1:80 -r"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A network namespace with eth0 and eth1 that counts as the machine's own; files go to a directory."""
    with netns.fresh():
        iproute.batch(
            "link add eth0 type veth peer name eth1",
            "link set lo up",
            "link set eth0 up",
            "link set eth1 up",
        )
        monkeypatch.setattr(persist, "SCRIPT", tmp_path / "pylvs/director")
        monkeypatch.setattr(units, "UNITS", tmp_path)
        yield tmp_path
        Instance.here().remove()


def scripted() -> str:
    with Director() as director:
        return script(director, persist.COMMENT)


def pylvsadm(words: str, stdin: str = "") -> None:
    subprocess.run([sys.executable, "-m", "pylvs.ipvsadm", *words.split()], input=stdin, text=True, check=True)


def test_after_a_reboot_the_director_is_the_same(places: Path) -> None:
    """Table with thresholds, order of destinations, knobs, marks, timeouts, mode, and what was detached."""
    pylvsadm("-R", TABLE)
    pylvsadm("--set 1000 60 100")
    assert main(["set", "conn_reuse_mode=0"]) == 0
    assert main(["mark", "add", "--mark", "7", "--dst", "fd00::/64", "--dport", "80"]) == 0
    assert main(["detach", "eth1"]) == 0
    assert main(["attach", "--mode", "tc", "--persist", "eth0"]) == 0
    before = scripted()
    assert persist.SCRIPT.read_text() == before
    assert main(["detach", "--unload", "--keep-persist"]) == 0
    assert not Instance.here().loaded
    subprocess.run([persist.SCRIPT], check=True)
    assert scripted() == before
    for line in TABLE.splitlines():
        assert line in before
    assert before.index(f"{ORDER} 10.0.0.12") < before.index(f"{ORDER} 10.0.0.11")
    for line in ("attach --mode tc", "detach eth1", "set conn_reuse_mode=0", "--set 1000 60 100"):
        assert line in before


def test_the_unit_is_wanted_at_boot_and_goes_with_the_data_plane(places: Path) -> None:
    """It starts the script; `detach --unload` takes both away, unless systemd itself calls it."""
    pylvsadm("-A -t 10.0.0.1:80")
    assert main(["attach", "--persist"]) == 0
    unit, path = places / persist.NAME, persist.SCRIPT
    assert (places / units.WANTS / persist.NAME).readlink() == unit
    assert f"ExecStart={path}\n" in unit.read_text()
    assert main(["detach", "--unload", "--keep-persist"]) == 0
    assert unit.exists()
    assert main(["detach", "--unload"]) == 0
    assert not unit.exists()
    assert not path.parent.exists()


def test_a_lab_cannot_persist(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its network is not what the machine has after a reboot; and unloading there leaves the unit alone."""
    (places / "node01").symlink_to("/proc/self/ns/net")
    monkeypatch.setattr(persist, "NAMED", places)
    assert main(["attach", "--persist"]) == 1
    assert "--persist is for the machine's own network" in capsys.readouterr().err
    assert persist.remove() == []
