"""The READMEs say what is true: their commands can be given, their code runs, their links lead on.

A command that needs neither data nor hardware is run by the test that `RUN_BY` names; every other
command says in its line, after `needs`, what it needs. All of them are parsed by the real programs.
"""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import tyro

from realtime.stream.decode import decode
from realtime.stream.encode import encode_estimate
from tests.support.example_estimate import INFO, STAMP, make_estimate
from tests.support.paths import ROOT

READMES = [
    ROOT / "README.md",
    *sorted([*ROOT.glob("*/README.md"), *ROOT.glob("[a-z]*/*/README.md")]),
]
RUN_BY = {
    "pip install": (".ci/run", "pip install"),
    "pytest": (".ci/run", ".venv/bin/pytest\n"),
    "run_demo.py --demo": ("tests/realtime/test_run_demo.py", 'run = ("--demo",'),
    "realtime.subscribe": ("tests/realtime/test_subscribe.py", '"-m", "realtime.subscribe"'),
    "realtime.archive recover": (
        "tests/realtime/test_archive.py",
        '"-m", "realtime.archive", "recover"',
    ),
    "realtime.bvh": ("tests/realtime/test_bvh.py", "bvh.main(["),
    "engines.convert_smpl": ("tests/engines/test_convert_smpl.py", '"engines.convert_smpl",'),
    "calib.board": ("tests/calib/test_board.py", "main(BoardConfig("),
    "trainer.import_onnx": ("tests/trainer/test_import_onnx.py", "import_onnx.main("),
}
"""A part of a command; the file that runs it, and how."""


class ParsedError(Exception):
    """Raised once a program has accepted its options, instead of doing what they ask for."""


def blocks(kind: str) -> Iterator[tuple[Path, str]]:
    """Every fenced block of a kind, with its file."""
    for readme in READMES:
        for text in re.findall(rf"^```{kind}\n(.*?)^```", readme.read_text(), re.DOTALL | re.M):
            yield readme, text


def command_lines() -> Iterator[tuple[Path, str, str]]:
    """Every command of every README, and its comment."""
    for readme, text in blocks("bash"):
        for line in text.splitlines():
            commands, _, comment = line.partition("  #")
            for command in commands.split("&&"):
                yield readme, command.strip(), comment


COMMANDS = list(command_lines())
PROGRAMS = [
    command
    for _, command, _ in COMMANDS
    if re.match(r"(\w+=\S+ )*(\S*/)?python3? (?!-m venv)", command)
]


@pytest.mark.parametrize(("readme", "command", "comment"), COMMANDS)
def test_every_command_is_run_somewhere_or_says_what_it_needs(
    readme: Path, command: str, comment: str
) -> None:
    runners = [runner for part, runner in RUN_BY.items() if part in command]
    assert runners or "needs " in comment or "venv" in command, f"{readme}: {command}"
    for file, run in runners:
        assert run in (ROOT / file).read_text(), f"{file} no longer runs it: {command}"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", PROGRAMS)
def test_the_program_takes_these_options(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"\w+=", word)][1:]

    def parse(config: type, *args: object, **options: object) -> None:
        parsed: Any = tyro_cli(config, *args, **options)  # pyright: ignore[reportCallIssue, reportArgumentType]
        if options.get("return_unknown_args"):
            assert not parsed[1], f"no such options: {parsed[1]}"
        raise ParsedError

    tyro_cli = tyro.cli
    monkeypatch.setattr(tyro, "cli", parse)
    # What `runpy` compiles here has the tests' run-time checks (`conftest.py`). Written beside the
    # source, Python would take it for the program's own, which fails with it.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    if words[0] == "-m":
        name, arguments = words[1], words[2:]
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(ParsedError):
            runpy.run_module(name, run_name="__main__", alter_sys=False)
    else:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(ParsedError):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")


@pytest.mark.parametrize("code", [text for _, text in blocks("python")])
def test_the_examples_run_and_print_numbers(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = decode(encode_estimate(make_estimate(count=20), INFO, STAMP))
    monkeypatch.setattr("realtime.subscriber.Subscriber", lambda: nullcontext([message]))
    exec(code, {})
    printed = capsys.readouterr().out
    assert re.search(r"\d\.\d", printed) and "Array(" not in printed and "memory" not in printed


def test_links_lead_to_files() -> None:
    for readme in READMES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", readme.read_text()):
            assert (readme.parent / target).exists(), f"{readme}: {target}"


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 900
