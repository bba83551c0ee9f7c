"""The declaration of the stream as the Markdown tables that the READMEs hold."""

from realtime.records import record_dtype
from realtime.stream.fields import Field, declared
from realtime.stream.message import (
    HypothesesMessage,
    PersonMessage,
    PoseMessage,
    StreamCalibration,
    WorldMessage,
)

KINDS = {
    "text": "string", "flag": "bool", "count": "int ≥ 0", "signed": "int", "number": "float",
    "finite": "float or nil", "texts": "strings", "map": "map of strings",
}  # fmt: skip
DTYPES = {"<f4": "float32", "|u1": "uint8"}
NESTED = {
    StreamCalibration: "calibration",
    PersonMessage: "person",
    HypothesesMessage: "hypotheses",
    WorldMessage: "world",
}


def message_table(message: type) -> str:
    """Every field of one of the classes of `message.py`: key, type, unit, meaning."""
    rows = [
        f"| `{name}` | {_type(field)} | {field.unit} | {field.meaning} |"
        for name, field in declared(message).items()
    ]
    return "\n".join(["| key | type | unit | |", "|---|---|---|---|", *rows])


def archive_table() -> str:
    """Every array of the archive but `meta`: name, type, shape, unit, meaning."""
    dtype = record_dtype(1)
    lines = ["| array | type | shape | unit | |", "|---|---|---|---|---|"]
    for message in (PoseMessage, WorldMessage, PersonMessage, HypothesesMessage):
        for field in declared(message).values():
            if (one := field.stored) is not None:
                shape = ", ".join(["N", *one.shape.split()])
                meaning = one.meaning or field.meaning
                kind = dtype[one.name].base.name
                lines.append(f"| `{one.name}` | {kind} | {shape} | {field.unit} | {meaning} |")
    return "\n".join(lines)


def tables() -> list[str]:
    """All tables of the stream."""
    return [
        message_table(message)
        for message in (
            PoseMessage,
            StreamCalibration,
            WorldMessage,
            PersonMessage,
            HypothesesMessage,
        )
    ]


def _type(field: Field) -> str:
    size = field.shape.replace(" ", "×")
    if field.nested is not None:
        name = NESTED[field.nested]
        return {"one": name, "optional": f"{name} or nil", "many": f"list of {name}"}[field.kind]
    if field.kind == "array":
        return f"{DTYPES[field.dtype]} {size}"
    number = {"counts": "ints ≥ 0", "numbers": "floats", "rows": "floats"}
    kind = number.get(field.kind) or KINDS[field.kind]
    return f"{size} {kind}" if size else kind


if __name__ == "__main__":
    print("\n\n".join([*tables(), archive_table()]))
