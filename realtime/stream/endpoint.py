"""Where the stream is: `tcp://HOST:PORT` or `ipc://PATH`."""

import ipaddress

from engines.errors import PenumbraError


def check_endpoint(endpoint: str, *, any_port: bool) -> None:
    """Refuse what ZeroMQ would refuse, and a port above 65535, which it would wrap round.

    Args:
        endpoint: What the user gave.
        any_port: Whether `*` and 0, a free port, make sense here.

    Raises:
        PenumbraError: the endpoint is malformed.
    """
    scheme, _, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    is_port = port.isascii() and port.isdigit() and (1 - any_port) <= int(port) <= 65535
    is_tcp = scheme == "tcp" and host != "" and (is_port or (any_port and port == "*"))
    if not is_tcp and not (scheme == "ipc" and rest):
        raise PenumbraError(
            f"endpoint: {endpoint} is not of the form tcp://HOST:PORT or ipc://PATH; give one "
            "that is."
        )


def is_local(endpoint: str) -> bool:
    """Whether only this machine can reach a well-formed endpoint."""
    if endpoint.startswith("ipc://"):
        return True
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, an interface or `*`
        return False
