"""A publisher on a free port, and waiting until it is heard."""

from collections.abc import Callable

from realtime.subscriber import Subscriber

ANY_PORT = "tcp://127.0.0.1:*"


def until_received(send: Callable[[], None], poses: Subscriber) -> None:
    """Subscriptions travel in the background: sends until one message has come through."""
    while not poses._socket.poll(20):
        send()
