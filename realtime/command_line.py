"""The command line of a run: words to `RunConfig`, by tyro.

The options are the fields of `RunConfig`; FILE, without a dash, is the same as `video`. An option
that does not exist is answered with the nearest one that does.
"""

import dataclasses
import difflib
import re
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from engines.errors import PenumbraError
from realtime.config import RunConfig, Seconds, Size, Up

_FILE = "file"
_FILE_HELP = "Video file, photo, folder of images, or address: the same as --video FILE."
_METAVARS: dict[Any, str] = {
    str | int | None: "NAME",
    str | Path | None: "NAME",
    Path | None: "FILE",
    int | None: "INT",
    float | None: "FLOAT",
    Size | None: "WxH",
    Seconds | None: "TIME",
    Up | None: "X,Y,Z",
}
"""How the value of an optional argument is written in the help."""


def parse_config(argv: Sequence[str] | None, program: str, description: str) -> RunConfig:
    """Read a command line; `--help` and values that cannot be read end the process.

    Args:
        argv: The words after the program's name; those of the process when None.
        program: The program's name.
        description: What stands above the options in the help.

    Raises:
        PenumbraError: There is no such option, or a word too many.
    """
    registry = ConstructorRegistry()
    registry.primitive_rule(_written_as)
    line, unknown = tyro.cli(
        _command_line(),
        prog=program,
        description=description,
        args=argv,
        registry=registry,
        return_unknown_args=True,
    )
    if unknown:
        raise PenumbraError(_answer(unknown))
    values = {field.name: getattr(line, field.name) for field in dataclasses.fields(RunConfig)}
    file = getattr(line, _FILE)
    if file is not None:
        if line.video is not None:
            raise PenumbraError(f"video: is given together with '{file}'; give one source.")
        values["video"] = file
    return RunConfig(**values)


def _command_line() -> type[RunConfig]:
    """`RunConfig` with FILE, and with what the help says of the values."""
    hints = typing.get_type_hints(RunConfig)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(RunConfig):
        kind = hints[field.name]
        if field.default is None:
            plain = tyro.conf.arg(metavar=_METAVARS.get(kind), help_behavior_hint="")
            kind = Annotated[kind, plain]
        elif field.default is False:  # nobody needs to say that something is not asked for
            kind = tyro.conf.FlagCreatePairsOff[
                Annotated[kind, tyro.conf.arg(help_behavior_hint="")]
            ]
        elif field.default is True:
            kind = Annotated[kind, tyro.conf.arg(help_behavior_hint="(on by default)")]
        fields.append((field.name, kind, dataclasses.field(default=field.default)))
    file = tyro.conf.arg(metavar="[FILE]", help=_FILE_HELP, help_behavior_hint="")
    fields.append((_FILE, tyro.conf.Positional[Annotated[str | None, file]], None))
    return dataclasses.make_dataclass("CommandLine", fields, bases=(RunConfig,), frozen=True)


def _written_as(argument: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """How sizes and times are written."""
    if argument.type == (Size | None):
        return _spec(Size | None, _size)
    if argument.type == (Seconds | None):
        return _spec(Seconds | None, _seconds)
    if argument.type == (Up | None):
        return _spec(Up | None, _up)
    return None


def _spec(kind: Any, read: Callable[[str], Any]) -> PrimitiveConstructorSpec:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=_METAVARS[kind],
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def _up(text: str) -> Up:
    try:
        x, y, z = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"'{text}' is no direction; write it as 0,-1,0.") from error
    return Up(x, y, z)


def _size(text: str) -> Size:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text, re.ASCII)
    if match is None:
        raise ValueError(f"'{text}' is no size; write it as 1280x720.")
    return Size(int(match[1]), int(match[2]))


def _seconds(text: str) -> Seconds:
    """Read 90, 90.5, 1:30 or 1:02:03.5."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)", text, re.ASCII)
    parts = match.groups(default="") if match else ("", "", "")
    hours, minutes, seconds = (float(part or 0.0) for part in parts)
    too_many = (parts[1] and seconds >= 60.0) or (parts[0] and minutes >= 60.0)
    if match is None or too_many:
        raise ValueError(f"'{text}' is no time; write seconds, as 90.5, or 1:30.5.")
    return Seconds(3600.0 * hours + 60.0 * minutes + seconds)


def _answer(unknown: Sequence[str]) -> str:
    """Say what is wrong with words that nobody asked for, and which option comes nearest."""
    words = [word for word in unknown if word.startswith("-")]
    if not words:
        return f"'{unknown[0]}': is one word too many; give one source, quoted if it has spaces."
    word = words[0].partition("=")[0]
    name = word.lstrip("-").replace("_", "-").lower()
    nearest = difflib.get_close_matches(name, _options(), n=1)
    if not nearest:
        return f"{word}: is not an option; --help lists them all."
    return f"{word}: is not an option; did you mean --{nearest[0]}?"


def _options() -> list[str]:
    names = ["help"]
    for field in dataclasses.fields(RunConfig):
        name = field.name.replace("_", "-")
        names += [name, f"no-{name}"] if field.default is True else [name]
    return names
