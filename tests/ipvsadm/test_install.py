# SPDX-License-Identifier: GPL-2.0-or-later
"""The links named ipvsadm, and the files that are generated from the grammar."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pylvs.commands.manual import files
from pylvs.ipvsadm.completion import CHOICES, bash
from pylvs.ipvsadm.grammar import BITS, COMMANDS, LEGALITY, OPTIONS, message_name
from pylvs.ipvsadm.install import NAMES, InstallError, install, run, uninstall
from pylvs.ipvsadm.manual import pylvsadm_page

SHARE = Path(__file__).parents[2] / "share"


def test_links_lead_to_the_programs(tmp_path: Path) -> None:
    """And a second time changes nothing."""
    for _ in range(2):
        list(install(tmp_path, Path("/opt/bin")))
    assert [(tmp_path / name).readlink() for name in NAMES] == [
        Path("/opt/bin/pylvsadm"),
        Path("/opt/bin/pylvsadm-save"),
        Path("/opt/bin/pylvsadm-restore"),
    ]


def test_undo_leaves_nothing(tmp_path: Path) -> None:
    """The directory is as it was."""
    list(install(tmp_path, Path("/opt/bin")))
    list(uninstall(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_real_ipvsadm_is_not_overwritten(tmp_path: Path) -> None:
    """Not even one of the three is linked; --force moves it aside, and undoing puts it back."""
    real = tmp_path / "ipvsadm-save"
    real.write_text("real")
    with pytest.raises(InstallError, match="--force"):
        list(install(tmp_path, Path("/opt/bin")))
    assert list(tmp_path.iterdir()) == [real]
    list(install(tmp_path, Path("/opt/bin"), force=True))
    assert real.is_symlink()
    list(uninstall(tmp_path))
    assert list(tmp_path.iterdir()) == [real]
    assert real.read_text() == "real"


def test_undo_leaves_a_real_ipvsadm_alone(tmp_path: Path) -> None:
    """Nothing of ours is there."""
    (tmp_path / "ipvsadm").write_text("real")
    assert list(uninstall(tmp_path)) == []
    assert (tmp_path / "ipvsadm").read_text() == "real"


def test_a_directory_of_somebody_else_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line that says what to run; nothing is linked."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert run(["--dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"pylvs: not permitted to write in {tmp_path}; run: sudo pylvs install-ipvsadm\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "text"), list(files()), ids=[name for name, _ in files()])
def test_generated_files_are_up_to_date(name: str, text: str) -> None:
    """Otherwise: python -m pylvs.commands.manual share"""
    assert (SHARE / name).read_text(encoding="utf-8") == text, "run: python -m pylvs.commands.manual share"


def test_every_option_is_in_the_manual() -> None:
    """By its long spelling."""
    text = pylvsadm_page().replace("\\-", "-")
    assert [option.long for option in (*COMMANDS, *OPTIONS) if f"--{option.long}" not in text] == []


def test_the_grammar_is_whole() -> None:
    """Each bit belongs to an option, each rule names a command and known bits."""
    assert {option.bit for option in OPTIONS if option.bit} == set(BITS)
    assert set(LEGALITY) == {command.long for command in COMMANDS} - {"help", "version"}
    assert {bit for rule in LEGALITY.values() for bits in rule.values() for bit in bits} <= set(BITS)
    assert message_name("clear") == "flush"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["pylvsadm", "--add-serv"], {"--add-service", "--add-server"}),
        (["pylvsadm", "-A", "--sched"], {"--scheduler", "--sched-flags"}),
        (["pylvsadm", "-A", "-s", "w"], {"wrr", "wlc"}),
        (["pylvsadm", "-S", "--"], {"--numeric", "--json"}),
        (["ipvsadm", "--start-daemon", ""], set(CHOICES["start-daemon"])),
    ],
)
def test_bash_completes(typed: list[str], offered: set[str]) -> None:
    """What bash would offer after these words."""
    words = " ".join(f"'{word}'" for word in typed)
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _pylvsadm; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    answer = subprocess.run(["bash", "-c", f"{bash()}\n{ask}"], capture_output=True, text=True, check=True)
    assert set(answer.stdout.split()) == offered
