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


def hostile() -> dict[str, bytes]:
    """Pickles that crash Python's own machine, or make it take gigabytes."""
    call_ndarray = b"cnumpy\nndarray\n((K\x01tU\x01OC\x08AAAAAAAAtR"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    plain_dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"
    object_dtype = b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR"
    eight = b"U\x08AAAAAAAA"
    return {
        "an array of objects from bytes": call_ndarray + b".",
        "the same in a set": b"c__builtin__\nset\n((l" + call_ndarray + b"atR.",
        "an object type": empty + b"(K\x01(K\x01t" + object_dtype + b"K\x00" + eight + b"tb.",
        "an object scalar": b"cnumpy.core.multiarray\nscalar\n(" + object_dtype + eight + b"tR.",
        "a type with fields": empty
        + b"(K\x01(K\x01t"
        + plain_dtype
        + b"(K\x03U\x01<N(U\x01atM}U\x01a(h\x00J\xf0\xff\xff\xfft"
        + b"sK\x08K\x01K\x00tbK\x00"
        + eight
        + b"tb.",
        "a type of the wrong size": empty
        + b"(K\x01(K\x01tcnumpy\ndtype\n(U\x04V800K\x00K\x01tRK\x00"
        + eight
        + b"tb.",
        "a type with subtype": plain_dtype + b"(K\x03U\x01<(K\x01K\x02tNNJ\xff\xff\xff\xffJ\xff"
        b"\xff\xff\xffK\x00tb.",
        "a shape beyond its bytes": empty
        + b"(K\x01(J\xff\xff\xff\x7ft"
        + plain_dtype
        + b"K\x00"
        + eight
        + b"tb.",
        "a negative shape": empty
        + b"(K\x01(J\xff\xff\xff\xffJ\xff\xff\xff\xfft"
        + plain_dtype
        + b"K\x00"
        + eight
        + b"tb.",
        "a shape that overflows": empty
        + b"(K\x01("
        + 8 * b"J\xff\xff\xff\x7f"
        + b"t"
        + plain_dtype
        + b"K\x00U\x00tb.",
        "an array without data": empty + b".",
        "an array given another's state": empty + b"q\x00h\x00b.",
        "deep tuples as a key": b"}" + b"(" + 200_000 * b"\x85" + b"K\x01s.",
        "deep tuples": b")" + 250_000 * b"\x85" + b".",
        "deep lists": 250_000 * b"]" + 249_999 * b"a" + b".",
        "doubled tuples": b")" + 60 * b"2\x86" + b".",
        "a shared chain": b"(" + b")q\x00" + 60 * b"h\x00\x85q\x00" + b"t.",
        "a list in itself": b"]q\x00h\x00a.",
        "a dictionary in itself": b"}q\x00U\x01ah\x00s.",
        "a stand-in in itself": b"cchumpy\nCh\n)Rq\x00}U\x01xh\x00sb.",
        "a chain of stand-ins": 100 * b"cchumpy\nCh\n)R}U\x01x" + b"K\x01" + 100 * b"sb" + b".",
        "a large memo": b"Nr\xff\xff\xff\xff0" * 3 + b"R.",
        "large bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.",
        "a large frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x3f.",
        "a large negative text": b"T\x00\x00\x00\x80.",
        "many sets": 5_000_000 * b"\x8f" + b".",
        "a long number": b"I" + 1_000_000 * b"9" + b"\n.",
        "a long integer": b"\x8b\x00\x00\x10\x00" + 2**20 * b"\x7f" + b".",
        "old instances": b"(ichumpy\nCh\n.",
        "an unknown opcode": b"\x97.",
        "a persistent object": b"P1\n.",
        "an extension": b"\x82\x01.",
        "nothing on the stack": b"R.",
        "a mark that is not there": b"e.",
    }
