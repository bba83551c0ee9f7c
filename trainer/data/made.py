"""What the files of a folder were made of, beside them in `made.json`."""

import json
from pathlib import Path
from typing import Any

from engines.errors import PenumbraError


def read_made(folder: Path) -> dict[str, Any]:
    """Read what a folder's files were made of; nothing where nobody wrote it down.

    Raises:
        PenumbraError: what was written is damaged.
    """
    record = folder / "made.json"
    try:
        return json.loads(record.read_text()) if record.exists() else {}
    except (OSError, ValueError) as error:
        raise PenumbraError(
            f"{record}: cannot be read ({error}); make the folder's files anew."
        ) from error


def check_made(folder: Path, made: dict[str, Any], argument: str) -> None:
    """Write down what a folder's `.npz` are made of, or compare with what was written.

    Args:
        folder: is made where it is missing.
        made: what they are made of, by name, as JSON.
        argument: what the user calls the folder, for the error message.

    Raises:
        PenumbraError: it holds some that are made of something else.
    """
    made = json.loads(json.dumps(made))
    if not any(folder.glob("*.npz")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "made.json").write_text(json.dumps(made, indent=2) + "\n")
        return
    before = read_made(folder)
    if different := [name for name, value in made.items() if before.get(name) != value]:
        raise PenumbraError(
            f"{argument}: {folder} holds shards with another {', '.join(different)}; name another "
            "folder."
        )
