import hashlib
import socket

import pytest

from sflow_jax.errors import InputError
from sflow_jax.pretrained import download


@pytest.fixture
def target(tmp_path):
    return tmp_path / "network.pth"


@pytest.fixture
def part(target):
    return target.with_name("network.pth.part")


def fetch(server, target):
    expected = hashlib.sha256(bytes(range(256)) * 40).hexdigest()
    download.download(server.url, target, expected)


def test_whole_file_arrives(file_server, target, part):
    fetch(file_server, target)
    assert target.read_bytes() == file_server.content
    assert not part.exists()
    assert file_server.requested_ranges == [None]


def test_interrupted_download_is_kept_and_continued(file_server, target, part):
    file_server.break_after = 3000
    with pytest.raises(InputError, match=r"closed before 10240 bytes .* continues .*\.part"):
        fetch(file_server, target)
    assert not target.exists()
    assert part.read_bytes() == file_server.content[:3000]
    file_server.break_after = None
    fetch(file_server, target)
    assert target.read_bytes() == file_server.content
    assert file_server.requested_ranges == [None, "bytes=3000-"]


def test_server_without_ranges_sends_the_file_again(file_server, target, part):
    part.write_bytes(b"x" * 700)
    file_server.supports_range = False
    fetch(file_server, target)
    assert target.read_bytes() == file_server.content


def test_complete_partial_file_is_only_checked(file_server, target, part):
    part.write_bytes(file_server.content)
    fetch(file_server, target)
    assert target.read_bytes() == file_server.content
    assert file_server.requested_ranges == ["bytes=10240-"]


def test_partial_file_longer_than_the_file_is_replaced(file_server, target, part):
    part.write_bytes(file_server.content + b"more")
    fetch(file_server, target)
    assert target.read_bytes() == file_server.content


def test_wrong_hash_is_one_error_and_leaves_nothing(file_server, target, part):
    file_server.content = b"not the network"
    with pytest.raises(InputError, match=r"127\.0\.0\.1.*SHA-256 is [0-9a-f]{64}, expected"):
        fetch(file_server, target)
    assert not target.exists()
    assert not part.exists()


def test_damaged_partial_file_does_not_block_the_next_attempt(file_server, target, part):
    part.write_bytes(b"x" * 700)
    with pytest.raises(InputError, match="SHA-256"):
        fetch(file_server, target)
    fetch(file_server, target)
    assert target.read_bytes() == file_server.content


@pytest.mark.parametrize("status", [404, 503])
def test_refusal_names_url_and_status_and_keeps_the_partial_file(file_server, target, part, status):
    part.write_bytes(file_server.content[:100])
    file_server.status = status
    with pytest.raises(InputError, match=rf"network-00000000\.pth: the server answers {status}"):
        fetch(file_server, target)
    assert part.stat().st_size == 100


def test_unreachable_server(target, part, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/network.pth"
        with pytest.raises(InputError, match=r"network\.pth: download failed \(.*refused"):
            download.download(url, target, "00000000")
    assert not part.exists()


def test_unknown_host_as_without_a_network(target, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def fail(*_args, **_kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(InputError, match=r"download failed .*name resolution"):
        download.download("https://example.org/network.pth", target, "00000000")
