"""Coverage-guided fuzzing of everything that reads files or messages of others.

A target is a module `tests/fuzz/fuzz_NAME.py` with

    MAX_MB: int                      how much memory one input may take, as the docstrings state
    def seeds() -> list[bytes]       valid inputs, from which the fuzzer starts
    def read(data: bytes) -> None    reads one input

`read` catches the errors that the reader declares (usually `PenumbraError`) and nothing else. Any
other exception is a finding, and so is a crash, an input that takes longer than `TIMEOUT_S`, and
one that takes more than `MAX_MB` (`MemoryError`, which a reader must therefore not catch).

    pytest tests/fuzz                                 # seeds, found inputs, a short run of each
    python -m tests.fuzz.run NAME --seconds 600       # a long one

An input that was found goes to `corpus/NAME/`, where the tests replay it forever.
"""
