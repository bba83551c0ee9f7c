"""Pickles that would run something, were they loaded by Python."""

import io
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np


class Payload:
    """Pickles to a call of any function with any arguments."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


def payloads(marker: Path) -> dict[str, bytes]:
    """Each creates the file `marker`, or reaches for what would."""
    command = f"touch {marker}"
    write = f"open({str(marker)!r}, 'w')"
    stacked = io.BytesIO()
    pickle.dump(
        {"v_template": np.zeros((3, 3)), "x": Payload(os.system, command)}, stacked, protocol=2
    )
    return {
        "os.system": pickle.dumps(Payload(os.system, command)),
        "inside a file": stacked.getvalue(),
        "eval": pickle.dumps(Payload(eval, write)),
        "exec": pickle.dumps(Payload(exec, write), protocol=0),
        "subprocess": pickle.dumps(Payload(subprocess.check_call, ["touch", str(marker)])),
        "getattr": pickle.dumps(Payload(getattr, "text", "upper"), protocol=2),
        # dotted names reach through an allowed class to its attributes
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "numpy's own exec": b"cnumpy.testing._private.utils\nrunstring\n(V"
        + write.encode()
        + b"\n(dtR.",
        "instance opcode": b"(V" + command.encode() + b"\nios\nsystem\n.",
        "disguised": b"ccopyreg\n_reconstructor\n(cos\nPathLike\nc__builtin__\nobject\nNtR.",
        "another codec": b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
    }
