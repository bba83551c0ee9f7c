"""Warp's start diverts stderr for a moment; threads that come together must not lose it."""

import subprocess
import sys

PROGRAM = """
import os, sys, threading
before = os.fstat(2).st_ino
from engines.kernels.launch import open_device
together = threading.Barrier(4)
def start():
    together.wait()
    open_device("cpu")
threads = [threading.Thread(target=start) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert os.fstat(2).st_ino == before
print("heard", file=sys.stderr)
"""


def test_stderr_is_the_same_after_several_threads_started_the_kernels() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr.endswith("heard\n")
