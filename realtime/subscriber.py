"""Receives the stream. Needs pyzmq and msgpack and nothing else.

with Subscriber() as stream:
    for message in stream:
        for person in message.people:
            print(person.joints.tolist(), person.joint_std.tolist())
"""

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from types import TracebackType

import zmq

from engines.errors import PenumbraError
from realtime.stream.decode import decode
from realtime.stream.endpoint import check_endpoint
from realtime.stream.message import PoseMessage
from realtime.stream.wire import (
    ANY_VERSION,
    DEFAULT_ENDPOINT,
    MAX_MESSAGE_BYTES,
    MessageError,
    VersionError,
)

RECONNECT_S = 0.1
"""Pause between the end of a connection and the next."""
_LOST = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)

log = logging.getLogger(__name__)


class Subscriber:
    """One connection to one publisher. Use it from one thread."""

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        latest_only: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        """Connect, also before the publisher is there.

        Args:
            endpoint: `tcp://HOST:PORT` or `ipc://PATH` of a publisher.
            latest_only: Keep only the newest message while the caller is busy. Otherwise keep up to
                1000 in order.
            timeout_s: How long `recv` waits before it raises TimeoutError. None: for ever.

        Raises:
            PenumbraError: the endpoint is malformed.
        """
        check_endpoint(endpoint, any_port=False)
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.received = 0
        self.lost = 0
        """Messages of the current session that were published after the first one received and
        never arrived here. With `latest_only` that includes those which a newer one replaced.
        Starts again at 0 with a new session."""
        self.refused = 0
        """Received, but not messages of this stream."""
        self._session = ""
        self._next_seq = 0
        self._reconnect_at = math.inf
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)  # a longer one ends a connection
        self._socket.setsockopt(zmq.IPV6, "[" in endpoint)
        # CONFLATE keeps one message of all topics together, and one outgoing subscription (libzmq
        # issues 1688, 4399). Both are enough: an endpoint carries one topic, the publisher filters,
        # and this is the only subscription.
        self._socket.setsockopt(zmq.CONFLATE, latest_only)
        self._socket.setsockopt(zmq.SUBSCRIBE, ANY_VERSION)
        self._monitor = self._socket.get_monitor_socket(_LOST)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise PenumbraError(
                f"endpoint: cannot connect to {endpoint} ({error.strerror}); it should look like "
                f"{DEFAULT_ENDPOINT}."
            ) from error

    def recv(self) -> PoseMessage:
        """The next message, or the newest with `latest_only`.

        Anything else that comes is counted in `refused` and skipped.

        Raises:
            TimeoutError: nothing came for `timeout_s`.
            VersionError: the publisher speaks another major version.
        """
        deadline = math.inf if self.timeout_s is None else time.monotonic() + self.timeout_s
        while True:
            self._wait(deadline)
            try:
                message = decode(self._socket.recv(zmq.NOBLOCK))
            except VersionError:
                raise
            except MessageError as error:
                if self.refused == 0:  # once: thousands may come
                    log.warning("Refused what came from %s: %s", self.endpoint, error)
                self.refused += 1
                continue
            self._count(message)
            return message

    def _wait(self, deadline: float) -> None:
        """Return when a message is there; connect again meanwhile, where need be."""
        while True:
            left_s = min(deadline, self._reconnect_at) - time.monotonic()
            wait_ms = None if left_s == math.inf else max(0, math.ceil(1000 * left_s))
            arrived = dict(self._poller.poll(wait_ms))
            if self._monitor in arrived:
                self._note_lost_connection()
            if self._socket in arrived:  # to be read first: a new connection would discard them
                return
            if time.monotonic() >= self._reconnect_at:
                self._reconnect()
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"endpoint: nothing came from {self.endpoint} for {self.timeout_s} s; is "
                    "Penumbra publishing there?"
                )

    def _note_lost_connection(self) -> None:
        while self._monitor.poll(0):
            self._monitor.recv_multipart(zmq.NOBLOCK)
        self._reconnect_at = time.monotonic() + RECONNECT_S

    def _reconnect(self) -> None:
        """Connect again: libzmq does not after a message that is too long or no ZeroMQ at all."""
        with contextlib.suppress(zmq.ZMQError):  # it has forgotten this endpoint
            self._socket.disconnect(self.endpoint)
        self._socket.connect(self.endpoint)
        self._reconnect_at = math.inf

    def _count(self, message: PoseMessage) -> None:
        if message.session != self._session:
            self._session = message.session
            self.lost = 0
        else:
            self.lost += max(0, message.seq - self._next_seq)
        self._next_seq = message.seq + 1
        self.received += 1

    def __iter__(self) -> Iterator[PoseMessage]:
        while True:
            yield self.recv()

    def close(self) -> None:
        """Disconnect."""
        self._context.destroy(linger=0)

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
