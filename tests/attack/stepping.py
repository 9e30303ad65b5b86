# SPDX-License-Identifier: GPL-2.0-or-later
"""Kills a command after its k-th step: a store to shared memory, a system call of bpf(2), or a change of a file.

The command runs in a forked child, traced line by line; a step is a line after which the shared memory is another. So
the product has no seam for it. A BPF program that the command runs is one step: no signal interrupts it.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

from pylvs.dataplane import kernel
from pylvs.dataplane.kernel import Command

ROOMS = tuple(f"/pylvs/{room}/" for room in ("table", "dataplane", "host", "commands"))
NEVER = 1 << 30
LIMIT = 60  # seconds, after which a child that hangs is killed
# What of bpf(2) changes something.
CHANGING = {
    Command.MAP_UPDATE, Command.MAP_DELETE, Command.MAP_LOOKUP_AND_DELETE, Command.MAP_UPDATE_BATCH, Command.OBJ_PIN,
    Command.PROG_TEST_RUN, Command.LINK_CREATE, Command.LINK_UPDATE, Command.LINK_DETACH,
}  # fmt: skip
# Audit events (docs.python.org/3/library/audit_events.html) of what changes files and locks.
FILES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "fcntl.flock",
    "subprocess.Popen",
    "os.truncate",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

Memory = Sequence[memoryview]


class Ended(NamedTuple):
    """How the command ended: killed, in `text` before which line, or by itself after so many steps, with `status`
    (-1: an exception, in `text`)."""

    killed: bool
    steps: int
    status: int
    text: str


class Stepper:
    """Counts steps, and dies after the k-th."""

    def __init__(self, memory: Memory, kill_at: int, pipe: int) -> None:
        self.memory, self.kill_at, self._pipe = memory, kill_at, pipe
        self.steps = self.files = 0
        self._seen = self._look()

    def start(self) -> None:
        """From now on, and for the rest of this process."""
        kernel._syscall = self._bpf
        sys.addaudithook(self._audit)
        sys.settrace(self._trace)

    def stop(self) -> None:
        """Count what the last line did, and no more."""
        sys.settrace(None)
        self._notice()

    def _look(self) -> list[bytes]:
        return [self.files.to_bytes(4, "little"), *map(bytes, self.memory)]

    def _notice(self) -> None:
        now = self._look()
        if now != self._seen:
            self._seen = now
            self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            os.write(self._pipe, f"@{_place(sys._getframe())}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def _bpf(self, *args: Any, call: Callable[..., int] = kernel._syscall) -> int:
        result = call(*args)
        if args[1] in CHANGING and result >= 0:
            self._seen = self._look()
            self._step()
        return result

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in FILES or (event == "open" and isinstance(args[2], int) and args[2] & WRITING):
            self.files += 1

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._line if any(room in frame.f_code.co_filename for room in ROOMS) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        self._notice()
        return self._line


def _place(frame: FrameType | None) -> str:
    """File and line of the command's code that is at work."""
    while frame and not any(room in frame.f_code.co_filename for room in ROOMS[:1] + ROOMS[2:]):
        frame = frame.f_back
    return f"{'/'.join(frame.f_code.co_filename.split('/')[-2:])}:{frame.f_lineno}" if frame else "?"


def run(command: Callable[[], int], memory: Memory, kill_at: int = NEVER) -> Ended:
    """Run the command in a child, killed after the step `kill_at`."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _child(command, Stepper(memory, kill_at, write), write)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Ended(os.WTERMSIG(status) == signal.SIGKILL, kill_at, -1, said.removeprefix("@") or "it was killed")
    steps, result, text = said.split(" ", 2)
    return Ended(False, int(steps), int(result), text)


def _child(command: Callable[[], int], stepper: Stepper, write: int) -> None:
    signal.alarm(LIMIT)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    sys.stdout = sys.stderr = io.StringIO()
    status, text = -1, ""
    stepper.start()
    try:
        status = command()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
    finally:
        stepper.stop()
        os.write(write, f"{stepper.steps} {status} {text}".encode())
        os._exit(0)
