"""Fuzz one target with atheris, for a bounded time and in bounded memory."""

import argparse
import importlib
import resource
import sys
import tempfile
from pathlib import Path
from types import ModuleType

CORPUS = Path(__file__).parent / "corpus"
TIMEOUT_S = 10
"""An input that takes longer counts as a hang."""


def load(name: str) -> ModuleType:
    """The module of a target."""
    return importlib.import_module(f"tests.fuzz.fuzz_{name}")


def limit_memory(megabytes: int) -> None:
    """Let the process take so much more address space than it has now; beyond is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def fuzz(name: str, seconds: int, found: Path) -> None:
    """Fuzz until the time is over or something is found; does not return.

    Args:
        name: the target.
        seconds: how long.
        found: folder for the input that was found.
    """
    import atheris

    with atheris.instrument_imports(include=["engines", "calib", "realtime"]):
        target = load(name)
    seeds = target.seeds()
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds):
            (Path(folder) / f"seed{number}").write_bytes(seed)
        corpus = [folder, *(str(path) for path in [CORPUS / name] if path.is_dir())]
        options = [f"-max_total_time={seconds}", f"-timeout={TIMEOUT_S}", "-rss_limit_mb=0"]
        longest = max(len(seed) for seed in seeds)
        options += [f"-max_len={2 * longest}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, *corpus], target.read)
        limit_memory(target.MAX_MB)
        atheris.Fuzz()


def main() -> None:
    """Read the options and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the target: fuzz_NAME.py")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path, default=Path(), help="folder for what is found")
    options = parser.parse_args()
    fuzz(options.name, options.seconds, options.found)


if __name__ == "__main__":
    main()
