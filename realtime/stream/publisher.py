"""Sends every estimate to all subscribers, and never waits for one.

A ZeroMQ PUB socket keeps a short queue for each subscriber. A subscriber that stops reading fills
its own queue and misses messages; no other notices. `ZMQ_CONFLATE` belongs on the subscriber: on
a PUB socket it breaks as soon as there are two subscribers (libzmq issue 3323).

What subscribers can cost is bounded: what they send (`MAX_INCOMING_BYTES`, `INCOMING_QUEUE`) and
how many topics they subscribe to together (`MAX_SUBSCRIPTIONS`; a stream has one). The socket is an
XPUB, which tells of subscriptions. libzmq can neither refuse one nor hang up on one peer, so where
there are too many, all connections are closed; honest subscribers come back by themselves.
"""

import logging
import socket
import stat
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

import zmq

from engines.errors import PenumbraError
from engines.types import Estimate
from realtime.stream.encode import Stamp, StreamInfo, encode_estimate
from realtime.stream.endpoint import check_endpoint, is_local
from realtime.stream.wire import DEFAULT_ENDPOINT, MAX_MESSAGE_BYTES
from realtime.timing import UnixClock

SEND_QUEUE = 32
"""Messages kept for a subscriber that is late: about a second of video, 2 MB with 100 hypotheses.
libzmq hears what was read in steps of half a queue, so one that is at most `SEND_QUEUE // 2`
messages behind is sure to miss nothing."""
MAX_INCOMING_BYTES = 256
"""A peer that sends a longer frame is disconnected. A subscription takes 13 bytes, the handshake's
longest frame about 40."""
INCOMING_QUEUE = 16
"""Subscriptions of one peer that are held between two messages; TCP holds back the rest."""
MAX_SUBSCRIPTIONS = 64
"""Different topics that all subscribers together may ask for."""
CLOSE_MS = 250
"""How long `close` waits for the last messages to leave."""

log = logging.getLogger(__name__)


class Publisher:
    """Publishes on one endpoint, one session per instance.

    Make it in any thread, then call `publish` from one thread only: a ZeroMQ socket must not be
    shared.
    """

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT, *, allow_lan: bool = False) -> None:
        """Bind.

        Args:
            endpoint: `tcp://HOST:PORT` or `ipc://PATH`. Port `*` takes any free one; the property
                `endpoint` then tells which.
            allow_lan: Other machines may connect. The stream is neither encrypted nor
                authenticated.

        Raises:
            PenumbraError: the port or path is in use, the endpoint is malformed, or it is not local
                and `allow_lan` is False.
        """
        check_endpoint(endpoint, any_port=True)
        if not is_local(endpoint):
            if not allow_lan:
                raise PenumbraError(
                    f"endpoint: {endpoint} can be reached from other machines; use "
                    "tcp://127.0.0.1:PORT, or set `allow_lan`."
                )
            log.warning(
                "Publishing on %s: anyone on the network can read the poses, unencrypted.", endpoint
            )
        if endpoint.startswith("ipc://"):
            _check_free(endpoint)
        self._clock = UnixClock()
        self.session = uuid.uuid4().hex
        self.sent = 0
        """Messages published, also without any subscriber."""
        self.stalls = 0
        """How often a subscriber's queue was found full. From then until it reads again, messages
        are left out for it; its own `Subscriber.lost` tells how many."""
        self.resets = 0
        """How often all connections were closed because of too many subscriptions."""
        self._thread: int | None = None
        self._topics: set[bytes] = set()
        self._open(endpoint)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where subscribers connect, with the real port."""

    def _open(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.linger = 0
        self._socket.sndhwm = SEND_QUEUE
        self._socket.rcvhwm = INCOMING_QUEUE
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_INCOMING_BYTES)
        self._socket.setsockopt(zmq.IPV6, "[" in endpoint)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)  # makes a full queue visible, see `_send`
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise PenumbraError(_cannot_bind(endpoint, error)) from error

    def publish(self, estimate: Estimate, info: StreamInfo) -> None:
        """Send one message, also without a person in the image. Never blocks."""
        self._thread = self._thread or threading.get_ident()
        assert self._thread == threading.get_ident(), "publish() was called from two threads"
        clocks = self._clock.pair()
        stamp = Stamp(self.session, self.sent, time.monotonic_ns(), clocks, self._clock.step_ns)
        message = encode_estimate(estimate, info, stamp)
        self.sent += 1
        if self._socket.closed and not self._bind_again():
            return
        self._send(message)
        self._note_subscriptions()

    def _send(self, message: bytes) -> None:
        assert len(message) <= MAX_MESSAGE_BYTES, (
            f"{len(message)} bytes: subscribers would refuse this message"
        )
        # A send that need not wait hears only once in a while, to save time, that subscribers have
        # read on; it would find queues full that are not. Asking for events always hears it.
        self._socket.getsockopt(zmq.EVENTS)
        try:
            self._socket.send(message, zmq.NOBLOCK)
        except zmq.Again:  # a queue is full, and nothing was sent to anybody; send to the others
            self.stalls += 1
            self._socket.setsockopt(zmq.XPUB_NODROP, 0)
            self._socket.send(message, zmq.NOBLOCK)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)

    def _note_subscriptions(self) -> None:
        """Keep count of the topics that are subscribed to; too many end all connections."""
        heard = 0
        while self._socket.poll(0) and max(heard, len(self._topics)) <= MAX_SUBSCRIPTIONS:
            frame = self._socket.recv(zmq.NOBLOCK)
            heard += 1
            if frame[:1] == b"\x01":
                self._topics.add(frame[1:])
            else:
                self._topics.discard(frame[1:])
        if max(heard, len(self._topics)) > MAX_SUBSCRIPTIONS:
            if self.resets == 0:  # once: it can be made to happen with every message
                log.warning(
                    "More than %d topics were subscribed to on %s; all subscribers have to connect "
                    "again",
                    MAX_SUBSCRIPTIONS,
                    self.endpoint,
                )
            self.resets += 1
            self._topics.clear()
            self._context.destroy(linger=0)
            self._bind_again()

    def _bind_again(self) -> bool:
        try:
            self._open(self.endpoint)
        except PenumbraError:  # tried again with the next message
            return False
        return True

    def close(self) -> None:
        """Let the last messages out, but wait no longer than `CLOSE_MS` for slow subscribers."""
        self._context.destroy(linger=CLOSE_MS)

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def _check_free(endpoint: str) -> None:
    """Refuse a path that is taken: libzmq deletes whatever is there before it binds.

    Only a socket without a listener may go that way.
    """
    path = endpoint.removeprefix("ipc://")
    if path == "*" or path.startswith("@"):  # a new name of its own, or a name that is not a file
        return
    try:
        mode = Path(path).lstat().st_mode
    except OSError:  # nothing is there, or libzmq says what is wrong
        return
    if not stat.S_ISSOCK(mode):
        raise PenumbraError(
            f"endpoint: at the path of {endpoint} there is already something that is not a socket; "
            "choose another path."
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a listener with a full queue would hold us up
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):  # left by a program that has ended
            return
        except OSError:  # another user's, or of another kind
            pass
    raise PenumbraError(
        f"endpoint: {endpoint} is in use, perhaps by another Penumbra; end that program or choose "
        "another path."
    )


def _cannot_bind(endpoint: str, error: zmq.ZMQError) -> str:
    port = endpoint.rpartition(":")[2]
    if error.errno == zmq.EADDRINUSE and endpoint.startswith("tcp://"):
        return (
            f"endpoint: port {port} of {endpoint} is in use, perhaps by another Penumbra; end that "
            "program or choose another port."
        )
    return (
        f"endpoint: cannot publish on {endpoint} ({error.strerror}); it should look like "
        f"{DEFAULT_ENDPOINT}."
    )
