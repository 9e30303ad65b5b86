# SPDX-License-Identifier: GPL-2.0-or-later
"""The door to the kernel, with one small object of everything; each test has a network namespace."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylvs.bench.parts import Places, Sampler
from pylvs.dataplane import bpffs
from pylvs.dataplane.instance import Instance, sweep
from pylvs.dataplane.kernel import (
    F_MMAPABLE,
    NOEXIST,
    BpfError,
    Map,
    MapType,
    possible_cpus,
    skb_context,
    xdp_context,
)
from pylvs.dataplane.libbpf import LoadError, ObjectFile
from pylvs.dataplane.loaded import NotThere
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import DataPlaneError, Unsupported
from pylvs.host import netns
from pylvs.table.records import Record

HERE = Path(__file__).parent
SOURCES = Path(__file__).parents[2] / "src"
CLANG = ["clang", "-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", "-Wall", "-Werror", "-c"]
FRAME = bytes(12) + b"\x08\x00" + bytes(50)
DEADLINE = 20.0  # seconds, for what takes milliseconds

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="BPF and network namespaces need root")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("objects")
    for name in ("tiny", "refused"):
        subprocess.run([*CLANG, str(HERE / f"{name}.bpf.c"), "-o", str(directory / f"{name}.bpf.o")], check=True)
    return directory


@pytest.fixture
def network() -> Iterator[int]:
    """A fresh network namespace for this thread; answers its cookie."""
    with netns.fresh():
        yield netns.cookie()


@pytest.fixture
def instance(network: int, objects: Path) -> Iterator[Instance]:
    """The small object, live, with constants 3, 2**40 and 2, and 100 in element 0 of chunk 0."""
    made = Instance.here()
    constants = {"answer": 3, "seed": 1 << 40, "flag": 2}
    with made.creating(objects / "tiny.bpf.o", {"samples": 9}, constants), _chunk() as chunk:
        made.map("chunks").set_inner(0, chunk)
        chunk.update(word(0), (100).to_bytes(8, "little"))
    yield made
    made.remove()


def _chunk() -> Map:
    return Map.create(MapType.ARRAY, 4, 8, 4, F_MMAPABLE, "chunk")


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


def test_what_was_made_is_found_by_the_next_command(instance: Instance) -> None:
    again = Instance.open()
    assert again.cookie == instance.cookie
    assert again.map("samples").info[2:5] == (4, 96, 9)
    assert again.layouts["sample"].size == 96
    with again.program("director_tc") as program:
        assert program.id > 0


def test_a_namespace_without_a_data_plane_says_so(network: int) -> None:
    with pytest.raises(NotThere, match="no data plane is loaded"):
        Instance.open()
    assert not os.path.exists(Instance.here().directory)


def test_a_second_data_plane_is_refused(instance: Instance, objects: Path) -> None:
    second = Instance.here().creating(objects / "tiny.bpf.o")
    with pytest.raises(DataPlaneError, match="loaded in this network namespace already"):
        second.__enter__()
    assert Instance.here().loaded


def test_a_failure_while_making_leaves_nothing(network: int, objects: Path) -> None:
    made = Instance.here()
    creating = made.creating(objects / "tiny.bpf.o")
    creating.__enter__()
    assert os.path.isdir(f"{made.directory}/half/maps")
    assert creating.__exit__(KeyError, KeyError(), None) is False
    assert not os.path.exists(made.directory)


def test_a_kill_while_making_leaves_nothing_that_the_next_command_does_not_clear(network: int, objects: Path) -> None:
    """The half-made instance is no instance, its lock is free, and making one again works."""
    made = Instance.here()
    child = os.fork()
    if child == 0:
        with made.creating(objects / "tiny.bpf.o"):
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert os.path.isdir(f"{made.directory}/half/maps")
    assert not made.loaded
    with made.creating(objects / "tiny.bpf.o"):
        pass
    assert sorted(os.listdir(made.directory)) == ["live"]
    made.remove()


def test_a_kill_while_removing_leaves_nothing_that_the_next_command_does_not_clear(
    instance: Instance, objects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it was gone already: no instance is there, and making one works."""
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "unlink", lambda path: os.kill(os.getpid(), signal.SIGKILL))
        instance.remove()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert os.listdir(instance.directory) == ["half"]
    again = Instance.here()
    assert not again.loaded
    with again.creating(objects / "tiny.bpf.o"):
        pass
    assert os.listdir(instance.directory) == ["live"]


def test_the_lock_is_kept_until_it_is_given_back(network: int) -> None:
    """Also over a removal within it: nobody else comes in before the block's end."""
    ours, theirs = Instance.here(), Instance.here()
    with ours.locked():
        ours.remember("mode", "tc")
        ours.remove()
        with pytest.raises(BlockingIOError):
            theirs._take(wait=False)
        ours.remember("mode", "xdp")
        assert theirs.notes() == {"mode": "xdp"}
        ours.remove()
    assert not os.path.exists(ours.directory)
    with theirs.locked():
        assert theirs.notes() == {}


WATCHER = """
from pylvs.host import netns
print("ready", flush=True)
input()
print(netns.live_cookies())
"""


def watched_from(*view: str) -> subprocess.Popen[str]:
    """A process that, once it gets a line, says which namespaces it takes for alive from where it is."""
    command = [*view, sys.executable, "-c", WATCHER]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "ready\n"
    return watcher


def test_a_name_younger_than_the_mount_namespace_is_alive() -> None:
    """Whoever looks sees an empty file of that name; nobody lives in the namespace."""
    watcher, name = watched_from("unshare", "--mount"), f"pylvs-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        code = "from pylvs.host import netns; print(netns.cookie())"
        inside = ["ip", "netns", "exec", name, sys.executable, "-c", code]
        cookie = int(subprocess.run(inside, check=True, capture_output=True, text=True).stdout)
        assert cookie in ast.literal_eval(watcher.communicate("\n")[0])
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_where_not_all_processes_are_seen_nothing_is_called_gone() -> None:
    """In a PID namespace, as of a container."""
    assert watched_from("unshare", "--pid", "--fork", "--mount-proc").communicate("\n")[0] == "None\n"


def test_the_instance_of_a_namespace_that_is_gone_is_swept(objects: Path) -> None:
    """And that of one that lives, without any link, stays."""
    program = (
        "import sys\nfrom pylvs.dataplane.instance import Instance\nmade = Instance.here()\n"
        "with made.creating(sys.argv[1]): pass\nprint(made.cookie, flush=True)\nsys.stdin.read()"
    )
    command = ["unshare", "--net", sys.executable, "-c", program, str(objects / "tiny.bpf.o")]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        cookie = int(child.stdout.readline())
        directory = f"{bpffs.root()}/pylvs/{cookie}"
        assert cookie not in sweep(os.path.dirname(directory), 0)
        assert os.path.isdir(f"{directory}/live/maps")
        child.communicate("")
    sweep(os.path.dirname(directory), 0)
    assert not os.path.exists(directory)


def test_what_another_removes_meanwhile_is_just_gone(network: int) -> None:
    """Sweeping, and asking for notes and for the lock, while another makes and removes an instance."""
    directory = f"{bpffs.root()}/pylvs-test-{os.getpid()}"
    os.mkdir(directory, 0o700)
    theirs, ours = (Instance(network, f"{directory}/{network}") for _ in range(2))
    child = os.fork()
    if child == 0:
        try:
            for _ in range(2000):
                with theirs.locked():
                    os.makedirs(f"{theirs.directory}/live/links")
                    theirs.remove()
            os._exit(0)
        finally:
            os._exit(1)
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert sweep(directory, 0) == []
        assert ours.notes() == ours.links() == {}
        with ours.locked():
            assert not ours.loaded
    assert ended[1] == 0
    os.rmdir(directory)


def test_the_lock_is_waited_for(instance: Instance) -> None:
    """Another holder of the lock keeps us waiting until it lets go."""
    reader, writer = os.pipe()
    with instance.locked():
        child = os.fork()
        if child == 0:
            with Instance.open().locked():
                os.write(writer, b"in")
            os._exit(0)
        os.close(writer)
        os.set_blocking(reader, False)
        _wait_until_asleep_in(child, "lock")
        with pytest.raises(BlockingIOError):
            os.read(reader, 2)
    os.set_blocking(reader, True)
    assert os.read(reader, 2) == b"in"
    assert os.waitpid(child, 0)[1] == 0
    os.close(reader)


def _wait_until_asleep_in(pid: int, call: str) -> None:
    """Poll until a process sleeps in a kernel function with `call` in its name."""
    deadline = time.monotonic() + DEADLINE
    while call not in Path(f"/proc/{pid}/wchan").read_text():
        assert time.monotonic() < deadline, f"it is not waiting in {call}"
        time.sleep(0.005)


def test_notes_are_kept_and_forgotten(instance: Instance) -> None:
    instance.remember("mode", "xdp")
    instance.remember("mode", "tc")
    assert Instance.open().notes() == {"mode": "tc"}
    instance.remember("mode", None)
    assert instance.note("mode") is None


def test_a_syscall_program_sees_constants_inner_maps_and_its_context(instance: Instance) -> None:
    """It answers through its return value and the context, call after call."""
    layout = instance.layouts["args"]
    with instance.syscall_program("add", layout.size) as add:
        layout.pack_into(add.context, 0, index=0, left=4)
        assert add() == 5
        assert layout.unpack_from(add.context) == (0, 0, 100 + 3 + (1 << 40) + 2 + 4)
        assert add() == 5
        assert layout.unpack_from(add.context).sum == 100 + 3 + (1 << 40) + 2
        layout.pack_into(add.context, 0, index=4)
        assert add() == -2


def test_frames_run_through_both_hooks(instance: Instance) -> None:
    """The context goes in and comes back, and the per-CPU counter counts both."""
    with instance.program("director_tc") as tc:
        assert tc.test_run(FRAME, skb_context(ifindex=1, mark=3)).retval == 2
        passed = tc.test_run(FRAME, skb_context(ifindex=1, mark=4))
        assert (passed.retval, passed.data, passed.ctx[32:36]) == (-1, FRAME, word(5))
    with instance.program("director_xdp") as xdp:
        run = xdp.test_run(FRAME, xdp_context(len(FRAME)))
        assert (run.retval, run.data) == (2, FRAME)
        assert xdp.test_run(bytes(3000), repeat=10).retval == 2
    counted = instance.map("seen").lookup(word(0))
    assert counted is not None
    assert len(counted) == 8 * possible_cpus()
    assert sum(counted[::8]) == 13


def test_a_hash_map_is_written_walked_and_emptied(instance: Instance) -> None:
    pairs = instance.map("pairs")
    assert pairs.lookup(word(1)) is None
    pairs.update(word(1), word(10) + word(11), NOEXIST)
    with pytest.raises(BpfError) as refused:
        pairs.update(word(1), bytes(8), NOEXIST)
    assert refused.value.errno == errno.EEXIST
    pairs.update_many(b"".join(map(word, range(2, 8))), bytes(8 * 6))
    assert sorted(pairs.keys()) == sorted(map(word, range(1, 8)))
    assert dict(pairs.items(chunk=4))[word(1)] == word(10) + word(11)
    assert len(dict(pairs.items(chunk=4))) == 7
    assert all(pairs.delete(word(key)) for key in range(2, 8))
    assert pairs.delete(word(1)) is True
    assert pairs.delete(word(1)) is False
    pairs.update(word(1), word(10) + word(11))
    assert pairs.pop(word(1)) == word(10) + word(11)
    assert pairs.pop(word(1)) is None
    assert list(pairs.items()) == []
    with pytest.raises(ValueError, match="a key of the map pairs has 4 bytes, not 1"):
        pairs.lookup(b"x")


def test_a_whole_struct_is_packed_from_some_of_its_fields(instance: Instance) -> None:
    """What is not named becomes zero; what is named lies where the layout says."""
    layout = instance.layouts["sample"]
    some = {"kind": 5, "weight": -7, "colour": 1}
    buffer = bytearray(b"\xff" * layout.size)
    packer = Record(layout).packer(tuple(some))
    packer.pack_into(buffer, 0, *some.values())
    assert packer.size == layout.size
    assert buffer == layout.pack(**some)


def test_mapped_memory_is_the_map(instance: Instance) -> None:
    """A store is seen by the next lookup, and an update by the next load."""
    layout, samples = instance.layouts["sample"], instance.map("samples")
    with MappedArray(samples) as mapped:
        assert (len(mapped), mapped.stride) == (9, 96)
        layout.pack_into(mapped.memory, 8 * mapped.stride, port=99)
        assert layout.unpack_from(samples.lookup(word(8))).port == 99
        samples.update(word(0), layout.pack(weight=-7))
        assert layout.unpack_from(mapped.memory).weight == -7
        assert mapped.words[layout.fields["weight"].offset // 4] == 2**32 - 7
        with pytest.raises(IndexError):
            mapped[9]
    inner = instance.map("chunks").inner(0)
    assert inner is not None
    assert instance.map("chunks").inner(1) is None
    with inner, MappedArray(inner) as chunk:
        assert chunk.memory.cast("Q")[0] == 100


def test_a_map_can_be_shared_by_two_objects(instance: Instance, objects: Path) -> None:
    with ObjectFile(objects / "tiny.bpf.o") as file:
        file.set_max_entries("samples", 9)
        file.reuse("samples", instance.map("samples"))
        file.skip_program("director_xdp")
        file.load()
        with file.map("samples") as shared:
            assert shared.info.id == instance.map("samples").info.id
        assert set(file.map_names) == {"samples", "pairs", "seen", "chunks", ".bss", ".rodata", ".data.settings"}


def test_what_the_verifier_refuses_is_one_line_and_the_log_is_kept(objects: Path) -> None:
    with ObjectFile(objects / "refused.bpf.o") as file, pytest.raises(LoadError) as refused:
        file.load()
    assert str(refused.value) == (
        "the kernel refused the data plane refused.bpf.o: Permission denied (R1 offset is outside of the packet)"
    )
    assert "invalid access to packet, off=0 size=1" in refused.value.tail
    assert refused.value.log.count("\n") >= refused.value.tail.count("\n") > 3


def test_names_that_are_not_in_the_object_are_refused(objects: Path, tmp_path: Path) -> None:
    with ObjectFile(objects / "tiny.bpf.o") as file:
        with pytest.raises(DataPlaneError, match=r"has no map sample; it has: .*samples"):
            file.set_max_entries("sample", 1)
        with pytest.raises(DataPlaneError, match="has no program director; it has: director_xdp"):
            file.skip_program("director")
        with pytest.raises(DataPlaneError, match=r"no variable question in \.rodata"):
            file.set_variables({"question": 1})
    with pytest.raises(DataPlaneError, match="the compiled data plane is not there"):
        ObjectFile(tmp_path / "absent.o")


def test_pins_are_the_machines_from_inside_ip_netns_exec(network: int) -> None:
    """A command with a /sys of its own, as `ip netns exec` gives, finds the bpffs outside."""
    outside = os.stat(bpffs.root())
    program = (
        "import os\nfrom pylvs.dataplane import bpffs\nassert not bpffs.is_bpffs('/sys/fs/bpf')\n"
        "status = os.stat(bpffs.root())\nprint(status.st_dev, status.st_ino)"
    )
    script = 'umount -l /sys && mount -t sysfs sysfs /sys && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable, program]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert found.split() == [str(outside.st_dev), str(outside.st_ino)]


def test_an_override_that_is_no_bpffs_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYLVS_BPFFS", str(tmp_path))
    bpffs.root.cache_clear()
    try:
        with pytest.raises(Unsupported, match="is not a bpffs; mount one there"):
            bpffs.root()
    finally:
        bpffs.root.cache_clear()


def test_opening_pins_is_cheap(instance: Instance) -> None:
    """A listing loads neither libbpf nor anything slow."""
    program = (
        "import sys\nfrom pylvs.dataplane.instance import Instance\nfound = Instance.open()\n"
        "found.map('samples').info, found.layouts['sample']\n"
        "print(*sorted({'pylvs.dataplane.libbpf', 'pyroute2', 'rich', 'asyncio'} & set(sys.modules)))\n"
        "print('libbpf' in open('/proc/self/maps').read())"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert said == "\nFalse\n"


def test_machine_code_is_led_back_to_its_line_of_c(instance: Instance) -> None:
    """The lines are those of the source, and a program that runs is found where it is."""
    source = (HERE / "tiny.bpf.c").read_text().splitlines()
    with instance.program("director_xdp") as program:
        places = Places(program)
        for line in places.lines:
            assert places.line(line.address) == line
            assert line.file.endswith("tiny.bpf.c")
            assert line.text == (source[line.number - 1].strip() if line.number else "")  # 0: the compiler's own
        assert places.line(places.lines[0].address - 1) is None
        with Sampler() as sampler:
            found = sampler.during(lambda: program.test_run(FRAME, xdp_context(len(FRAME)), 2_000_000))
        assert any(places.line(address) for address in found)
