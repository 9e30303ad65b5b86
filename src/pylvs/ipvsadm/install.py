# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs install-ipvsadm`: links by which scripts that call ipvsadm run pylvsadm; `--undo` removes them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

from pylvs.errors import PylvsError

NAMES = ("ipvsadm", "ipvsadm-save", "ipvsadm-restore")
DIRECTORY = "/usr/local/sbin"
_BACKUP = ".before-pylvs"


class InstallError(PylvsError):
    """A link cannot be made or removed; the message says what to run."""


def run(argv: Sequence[str]) -> int:
    """The exit status of `pylvs install-ipvsadm …`."""
    options = _parser().parse_args(argv)
    directory = Path(options.dir)
    try:
        lines = list(uninstall(directory) if options.undo else install(directory, programs(), force=options.force))
    except PermissionError:
        print(f"pylvs: not permitted to write in {directory}; run: sudo pylvs install-ipvsadm", file=sys.stderr)
        return 1
    except (InstallError, OSError) as error:
        print(f"pylvs: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines) or f"nothing to do in {directory}")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="pylvs install-ipvsadm", description="Let the name ipvsadm run pylvsadm.")
    parser.add_argument("--dir", default=DIRECTORY, help=f"where the links go (default {DIRECTORY})")
    parser.add_argument("--force", action="store_true", help="move a real ipvsadm aside")
    parser.add_argument("--undo", action="store_true", help="remove the links and put back what was moved aside")
    return parser


def programs() -> Path:
    """Where pylvsadm and its two companions are: beside the running program or its interpreter."""
    for place in (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent):
        if (place / "pylvsadm").exists():
            return place
    raise InstallError("pylvsadm is not installed beside this program; run: pip install pylvs")


def install(directory: Path, source: Path, *, force: bool = False) -> Iterator[str]:
    """Link the three names; nothing is touched if one of them is taken and `force` is not set."""
    if not directory.is_dir():
        raise InstallError(f"no directory {directory}; run: mkdir -p {directory}")
    taken = [directory / name for name in NAMES if _is_foreign(directory / name)]
    if taken and not force:
        raise InstallError(f"{taken[0]} is not a link of pylvs; --force moves it to {taken[0].name}{_BACKUP}")
    for path in taken:
        path.rename(_backup(path))
        yield f"{path} moved to {_backup(path)}"
    for name in NAMES:
        link, target = directory / name, source / f"pyl{name[2:]}"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        yield f"{link} -> {target}"


def uninstall(directory: Path) -> Iterator[str]:
    """Remove our links and put back what `--force` moved aside."""
    for name in NAMES:
        path = directory / name
        if _is_ours(path):
            path.unlink()
            yield f"{path} removed"
        if _backup(path).exists() and not path.exists():
            _backup(path).rename(path)
            yield f"{path} is again what it was"


def _backup(path: Path) -> Path:
    return path.with_name(path.name + _BACKUP)


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink().name == f"pyl{path.name[2:]}"


def _is_foreign(path: Path) -> bool:
    return (path.exists() or path.is_symlink()) and not _is_ours(path)
