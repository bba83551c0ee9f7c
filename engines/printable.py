"""Text from outside, such as a file's name, made safe to print."""


def printable(text: str) -> str:
    """Replace what a terminal would obey or cannot show by its escape, such as `\\x1b` or `\\n`.

    Control and formatting characters move the cursor, ring, turn the line round or fake one.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
