"""Where publishers may listen: ports, paths and addresses, and what is refused by name."""

import socket
from pathlib import Path

import pytest

from engines.errors import PenumbraError
from realtime.stream.endpoint import is_local
from realtime.stream.publisher import Publisher
from realtime.subscriber import Subscriber
from tests.support.example_estimate import INFO, make_estimate
from tests.support.publishing import until_received


def test_port_in_use_names_the_port(publisher: Publisher) -> None:
    port = publisher.endpoint.rpartition(":")[2]
    with pytest.raises(PenumbraError, match=f"endpoint: port {port} .* in use"):
        Publisher(publisher.endpoint)


def test_a_path_in_use_is_not_taken_over(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/poses"
    with Publisher(endpoint) as publisher, Subscriber(endpoint, timeout_s=60) as poses:
        with pytest.raises(PenumbraError, match="poses is in use"):
            Publisher(endpoint)
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)
        assert poses.recv().session == publisher.session


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_not_a_socket_is_not_deleted(kind: str, tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "path"
    if kind == "link":
        precious.write_text("mine")
        path.symlink_to(precious)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("mine")
    with pytest.raises(PenumbraError, match=r"path of .* there is already something"):
        Publisher(f"ipc://{path}")
    assert (
        path.is_symlink()
        if kind == "link"
        else path.is_dir()
        if kind == "folder"
        else path.read_text() == "mine"
    )


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(tmp_path / "poses"))
    assert (tmp_path / "poses").is_socket()
    with (
        Publisher(f"ipc://{tmp_path}/poses") as publisher,
        Subscriber(publisher.endpoint, timeout_s=60) as poses,
    ):
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "/" + 200 * "long"])
def test_a_path_that_cannot_be_bound_is_named(path: str) -> None:
    with pytest.raises(PenumbraError, match=f"endpoint: .*ipc://{path}"):
        Publisher(f"ipc://{path}")


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1",
        "5590",
        "",
        "http://127.0.0.1:80",
        "tcp://127.0.0.1:99999",
        "tcp://:5590",
        "ipc://",
    ],
)
def test_a_malformed_endpoint_is_named(endpoint: str) -> None:
    with pytest.raises(PenumbraError, match=f"endpoint: {endpoint}"):
        Publisher(endpoint, allow_lan=True)
    with pytest.raises(PenumbraError, match=f"endpoint: {endpoint}"):
        Subscriber(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_a_free_port_is_for_the_publisher_to_choose(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        assert int(publisher.endpoint.rpartition(":")[2]) > 0
    with pytest.raises(PenumbraError, match="form tcp://HOST:PORT"):
        Subscriber(endpoint)


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(
        PenumbraError, match=r"endpoint: .* tcp://192\.0\.2\.1:5590"
    ):  # reserved for documentation
        Publisher("tcp://192.0.2.1:5590", allow_lan=True)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("tcp://127.0.0.1:5590", True),
        ("tcp://127.3.2.1:5590", True),
        ("tcp://localhost:5590", True),
        ("tcp://[::1]:5590", True),
        ("ipc:///run/poses", True),
        ("tcp://*:5590", False),
        ("tcp://0.0.0.0:5590", False),
        ("tcp://[::]:5590", False),
        ("tcp://eth0:5590", False),
        ("tcp://127.evil.example:5590", False),
    ],
)
def test_which_endpoints_stay_on_this_machine(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local
    if not local:
        with pytest.raises(PenumbraError, match="allow_lan"):
            Publisher(endpoint)


def test_publishing_on_the_network_is_allowed_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Publisher("tcp://0.0.0.0:*", allow_lan=True):
        assert "unencrypted" in caplog.text
