"""Whether a window can be opened here, and if not, why and what to do."""

import os
import re
import subprocess
import sys
from functools import lru_cache

_PROBE_TIMEOUT_S = 120.0
# Without a display or a driver Open3D ends the process instead of raising, so it is tried in
# another one first. `_exit` skips Open3D's own teardown, which is of no interest here.
_PROBE = """
import os
from open3d.visualization import gui
gui.Application.instance.initialize()
gui.Application.instance.create_window("probe", 64, 64)
os._exit(0)
"""
_PACKAGES = {
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libusb-1.0.so": "libusb-1.0-0",
    "libgomp.so": "libgomp1",
    "libX11.so": "libx11-6",
}


@lru_cache(maxsize=1)
def why_no_window() -> str | None:
    """Return why no window can be opened and what to do, or None when one can.

    It is tried once per process.
    """
    linux = sys.platform.startswith("linux")
    if linux and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        return (
            "window: there is no display (DISPLAY is not set); start from a desktop session, "
            "or run headless."
        )
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"window: Open3D did not open one within {_PROBE_TIMEOUT_S:.0f} s; run headless."
    return None if probe.returncode == 0 else explain_probe(probe.returncode, probe.stderr)


def explain_probe(returncode: int, stderr: str) -> str:
    """Turn the exit status and the stderr of the probe into a sentence."""
    missing = re.search(r"(lib[\w.+-]+\.so)[\w.]*: cannot open shared object", stderr)
    if missing:
        package = _PACKAGES.get(missing[1])
        cure = (
            f"apt install {package}"
            if package
            else f"install the system package that brings {missing[1]}"
        )
        return f"window: Open3D needs the system library {missing[1]}; {cure}, or run headless."
    if "No module named" in stderr:
        return "window: Open3D is not installed; pip install open3d==0.19.0, or run headless."
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit status {returncode}"
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return (
        f"window: Open3D cannot open one on display {display} ({last.rstrip('.')}); "
        "check the display and its OpenGL driver, or run headless."
    )
