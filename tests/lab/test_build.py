# SPDX-License-Identifier: GPL-2.0-or-later
"""Building the lab and taking it away: twice, side by side, and after the builder was killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pylvs.commands.main import main
from pylvs.host import netns
from pylvs.host.capture import Capture
from pylvs.lab import build, client, proofs, steps
from pylvs.lab.topology import Options, Topology, topology

from .helpers import document, lab, leftovers


def machines(name: str) -> Topology:
    """The lab up to the point where the director's own steps begin."""
    made = topology(Options(name=name))
    build.remove(name)
    for step in steps.steps(made):
        if step.typed.startswith("pylvs"):
            break
        build.carry_out(made, step)
    build.await_servers(made)
    return made


def test_real_servers_answer_and_only_the_director_claims_the_vip(name: str) -> None:
    """Apache answers with its own address, and ARP for the VIP is answered by node01 alone."""
    made = machines(name)
    seen = proofs.direct(made)
    assert seen.ok, seen.why
    assert seen.rows == tuple(f"node0{n}: from 192.168.247.{133 + n}" for n in (2, 3, 4))
    seen = proofs.vip_owner(made)
    assert seen.ok, seen.why


def test_the_proof_of_arp_hiding_fails_when_a_vip_is_not_hidden(name: str) -> None:
    """Undo the hiding on node02, and the proof names it."""
    made = machines(name)
    build.run(made, "node02", ["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.eth0.arp_ignore=0"])
    seen = proofs.vip_owner(made)
    assert "node02" in seen.why


def test_a_vip_without_a_service_fails_by_name(name: str) -> None:
    """With nothing balancing, the proof says that the connection was refused, and raises nothing."""
    made = machines(name)
    proof = next(proof for proof in proofs.proofs(made) if proof.look is proofs.alternates)
    assert "refused" in proofs.carry_out(proof, made).why


def test_nothing_of_the_lab_is_in_the_machine_s_own_namespace(name: str) -> None:
    """Neither a lab address nor a lab interface is seen from outside, before or after."""
    before = subprocess.run(["ip", "-br", "addr"], capture_output=True, text=True, check=True).stdout
    machines(name)
    after = subprocess.run(["ip", "-br", "addr"], capture_output=True, text=True, check=True).stdout
    assert after == before
    assert "192.168.247" not in after


def test_frames_are_seen_with_their_mac_and_direction(name: str) -> None:
    """A capture on the client's interface tells sent from received, and whose MAC a reply has."""
    made = machines(name)
    server = made.real_servers[0]
    with Capture(made.namespace("client"), "eth0") as capture:
        with netns.inside(made.namespace("client")):
            client.get(server.address, made.port)
        frames = list(capture.frames())
    replies = {frame.source for frame in frames if frame.packet.ports[0] == made.port and not frame.sent}
    assert replies == {server.ports[0].mac}
    assert any(frame.sent and frame.packet.ports[1] == made.port for frame in frames)


def test_down_leaves_nothing(name: str) -> None:
    """No namespace, no httpd, no file."""
    machines(name)
    assert leftovers(name)
    assert lab("down", name).returncode == 0
    assert leftovers(name) == []
    assert "no lab" in lab("down", name).stdout


@pytest.mark.parametrize("attempt", range(6))
def test_down_after_the_builder_was_killed(name: str, attempt: int) -> None:
    """Kill -9 at any moment of `up`: `down` still finds everything."""
    argv = [sys.executable, "-m", "pylvs", "lab", "up", "--name", name]
    builder = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not leftovers(name) and builder.poll() is None and time.monotonic() < deadline:
        pass
    time.sleep(random.Random(attempt).uniform(0, 0.5))  # the moment is what is varied: not a wait for anything
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert lab("down", name).returncode == 0
    assert leftovers(name) == []


def test_a_half_made_namespace_is_taken_away(name: str) -> None:
    """`ip netns add` cut off between its file and its mount leaves a file that is no namespace."""
    half = netns.NAMED / f"pylvs-{name}-node01"
    half.touch()
    assert lab("down", name).returncode == 0
    assert not half.exists()


def test_labs_of_different_names_do_not_touch_each_other(name: str) -> None:
    """Taking one away leaves the other answering."""
    made = machines(name)
    other = f"{name}b"
    machines(other)
    assert lab("down", other).returncode == 0
    assert leftovers(other) == []
    seen = proofs.direct(made)
    assert seen.ok, seen.why


def test_up_twice_keeps_the_lab(name: str, data_plane: None) -> None:
    """The second `up` finds the lab as asked for and changes nothing."""
    first, second = document("up", name), document("up", name)
    assert first["ok"]
    assert first["new"]
    assert second["ok"]
    assert not second["new"]
    assert second["steps"] == []


def test_exec_sees_the_machine(name: str, data_plane: None) -> None:
    """A command runs on the machine that was named, and its exit status is handed on."""
    assert document("up", name)["ok"]
    done = lab("exec", name, "node02", "ip", "-br", "addr", "show", "lo")
    assert "192.168.247.100/32" in done.stdout
    assert lab("exec", name, "node02", "false").returncode == 1
    assert "no machine 'node09'" in lab("exec", name, "node09", "true").stderr


def test_without_a_lab_each_command_says_what_to_type(name: str) -> None:
    """One line, no traceback."""
    commands = ("status",), ("exec", "node01", "true"), ("break",), ("fix",), ("mend",)
    for command, *more in commands:
        done = lab(command, name, *more)
        assert done.returncode == 1
        assert done.stderr == "pylvs: the lab is not up; run: pylvs lab up\n"


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_without_root_each_command_says_so(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without root nobody may look into namespaces, so that `status` cannot know whether there is a lab."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert main(["lab", command, "--name", name]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "needs root; run: sudo pylvs lab" in said


def test_a_terminal_without_our_letters_shows_the_lab(name: str, data_plane: None) -> None:
    """A locale that has no box to draw is no traceback."""
    assert document("up", name)["ok"]
    argv = [sys.executable, "-m", "pylvs", "lab", "status", "--name", name]
    done = subprocess.run(argv, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0, done.stderr
    assert b"192.168.247.134" in done.stdout
