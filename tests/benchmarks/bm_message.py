"""How long one message takes to make, to read and to send."""

import time
from collections.abc import Callable

import numpy as np
import tyro

from engines.types import Estimate, Hypotheses
from realtime.stream.decode import decode
from realtime.stream.encode import encode_estimate
from realtime.stream.publisher import Publisher
from tests.support.example_estimate import INFO, STAMP, make_estimate

RUNS = 2000


def main(hypotheses: int = 100) -> None:
    """Print the median and the 95th percentile of encoding, decoding and publishing.

    Args:
        hypotheses: bodies in the message.
    """
    count = hypotheses
    for name, estimate in (
        ("float64", make_estimate(count=count)),
        ("float32", as_float32(make_estimate(count=count))),
    ):
        message = encode_estimate(estimate, INFO, STAMP)
        report(
            f"encode {name}",
            lambda estimate=estimate: encode_estimate(estimate, INFO, STAMP),
            len(message),
        )
    report("decode", lambda: decode(message), len(message))
    with Publisher("tcp://127.0.0.1:*") as publisher:
        report("publish, nobody listens", lambda: publisher.publish(estimate, INFO), len(message))


def as_float32(estimate: Estimate) -> Estimate:
    """The same with hypotheses as the kernels make them."""
    assert estimate.person is not None
    fields = {
        key: np.asarray(value, np.float32)
        for key, value in vars(estimate.person.hypotheses).items()
    }
    vars(estimate.person)["hypotheses"] = Hypotheses(**fields)
    return estimate


def report(name: str, function: Callable[[], object], size: int) -> None:
    times_ms = []
    for _ in range(RUNS):
        start = time.perf_counter_ns()
        function()
        times_ms.append((time.perf_counter_ns() - start) / 1e6)
    p50, p95 = np.percentile(times_ms, [50, 95])
    print(f"{name:<26}{size / 1e3:8.1f} kB   p50 {p50:.3f} ms   p95 {p95:.3f} ms")


if __name__ == "__main__":
    tyro.cli(main)
