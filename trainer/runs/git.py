"""What git says about the checkout that this code lies in, for records of how things were made."""

import subprocess
from pathlib import Path


def git(*words: str) -> str:
    """The output of a git command; "unknown" without git, or where this is no checkout."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
