"""Nothing leaves the machine: no address is looked up and none but this machine's is contacted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LOCAL = re.compile(r"sin_addr=inet_addr\(\"127\.|inet_pton\(AF_INET6, \"::1\"")
NAME_SERVER = "htons(53)"
SYSTEM_CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
PROGRAMS = {
    "demo, openvino": "run_demo.py --demo --headless --max-frames 3 --backend openvino "
    "--endpoint tcp://127.0.0.1:*",
    "demo, onnxruntime": "run_demo.py --demo --headless --max-frames 3 --backend onnxruntime "
    "--endpoint tcp://127.0.0.1:*",
    "library": "-c from@pathlib@import@Path;from@engines.backends.engine@import@open_engine;"
    "from@engines.flow.model@import@FlowModel;model=FlowModel.load().onnx;"
    "shapes={'z':(2,85)};[open_engine(model,name,shapes).run()@for@name@in"
    "('openvino','onnxruntime')]",
}


def contacts(arguments: list[str], folder: Path, empty_namespace: bool) -> list[str]:
    """System calls by which a program and its children contact the network."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = folder / "trace"
    command = ["strace", "-f", "-e", SYSTEM_CALLS, "-o", str(trace), sys.executable, *arguments]
    if empty_namespace:
        inside = 'ip link set lo up; exec "$@"'
        command = ["unshare", "--net", "--map-root-user", "sh", "-c", inside, "sh", *command]
    home = folder / "home"
    home.mkdir()
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "GITHUB_ACTIONS")
    }
    environment |= {"HOME": str(home)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    identities = [path for path in home.rglob("*") if "intel" in path.parts or "Micro" in str(path)]
    assert not identities, f"a device id was stored: {identities}"
    lines = trace.read_text().splitlines()
    return [
        line
        for line in lines
        if "sa_family=AF_INET" in line and (NAME_SERVER in line or not LOCAL.search(line))
    ]


def can_unshare() -> bool:
    unshare = ["unshare", "--net", "--map-root-user", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(unshare, capture_output=True).returncode == 0
    except OSError:
        return False


def test_a_lookup_would_be_seen(tmp_path: Path) -> None:
    code = "import contextlib, socket\nwith contextlib.suppress(OSError):\n    "
    code += "socket.getaddrinfo('penumbra.invalid', 80)"
    if "nameserver" not in Path("/etc/resolv.conf").read_text():
        pytest.skip("no name server is configured")
    assert contacts(["-c", code], tmp_path, empty_namespace=can_unshare())


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_contacts_nobody(name: str, tmp_path: Path) -> None:
    arguments = [word.replace("@", " ") for word in PROGRAMS[name].split()]
    assert contacts(arguments, tmp_path, empty_namespace=can_unshare()) == []


@pytest.mark.slow
def test_no_module_contacts_anybody_when_it_is_imported(tmp_path: Path) -> None:
    """Every command of ours and what it imports; here a network is there to be contacted."""
    files = [*ROOT.glob("realtime/**/*.py"), *ROOT.glob("engines/**/*.py")]
    files += [*ROOT.glob("trainer/**/*.py"), *ROOT.glob("calib/**/*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    names = [name for name in names if not name.endswith(("__init__", "tensorrt_engine"))]
    code = f"import importlib, time; [importlib.import_module(n) for n in {names}]; time.sleep(3)"
    assert contacts(["-c", code], tmp_path, empty_namespace=False) == []


def test_the_libraries_are_imported_where_their_telemetry_is_off() -> None:
    """Nowhere in the tree are they imported otherwise."""
    pattern = re.compile(r"^( *)(?:import|from) (openvino|onnxruntime)\b", re.M)
    guarded = re.compile(r"^with no_telemetry\(\):\n    import (openvino|onnxruntime)$", re.M)
    found = 0
    for room in ("engines", "realtime", "trainer", "calib", "tests"):
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text()
            assert len(pattern.findall(text)) == len(guarded.findall(text)), file
            found += len(guarded.findall(text))
    assert found >= 3
