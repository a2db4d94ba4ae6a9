"""Object storage: servers like S3 on this machine, killed in the middle too. `outlive[test-save]` has them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from outlive.archive.bucket import Bucket
from outlive.archive.files import File, fill
from outlive.archive.manifest import Entry, Manifest
from outlive.archive.opening import place_of
from outlive.arrays import segment
from outlive.errors import ArchiveNotFound, ArchiveUnavailable, CorruptArchive
from tests.archive.servers import BUCKET, SERVERS, Server

if not SERVERS:
    pytest.skip("needs outlive[test-save]", allow_module_level=True)


@pytest.fixture(scope="module", params=SERVERS, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = request.param()
    yield started
    started.kill()


@pytest.fixture
def place(server: Server, request: pytest.FixtureRequest) -> Bucket:
    made = place_of(f"s3://{BUCKET}/{request.node.name}", server.options)
    assert isinstance(made, Bucket)
    return made


def written(place: Bucket, array: Any, key: str = "a/b", version: int = 1) -> Entry:
    info = segment.describe(
        f"'{array.dtype.str}'", array.shape, array.nbytes, fortran=False, store="s", key=key, version=version
    )
    file = File.of(info, array)
    return file.entry._replace(sha256=file.write(place))


def read(place: Bucket, entry: Entry) -> Any:
    return fill(place, entry, lambda: np.empty(entry.shape, entry.dtype.strip("'")))


@pytest.mark.parametrize("size", [0, 1, 1000, 5 << 20])  # float64: 40 MiB is sent, and read, in parts
def test_files_come_back(place: Bucket, size: int) -> None:
    array = np.random.default_rng(7).random(size)
    entry = written(place, array, "ü=/..//x")
    assert place.sizes() == {entry.file: entry.bytes}
    assert place.has(entry.file, entry.bytes)
    assert not place.has(entry.file, 7)
    assert not place.has("arrays/none", 7)
    assert np.array_equal(read(place, entry), array)
    for lie in (entry._replace(sha256="0" * 64), entry._replace(bytes=entry.bytes + 8, shape=(size + 1,))):
        with pytest.raises(CorruptArchive):
            read(place, lie)
    place.delete([entry.file, "arrays/none"])
    assert place.sizes() == {}
    with pytest.raises(FileNotFoundError):
        read(place, entry)


def test_of_two_that_replace_the_manifest_one_is_told(place: Bucket) -> None:
    with pytest.raises(ArchiveNotFound):
        place.existing()
    assert place.replace(Manifest("one", {}).to_json(), None)
    assert not place.replace(Manifest("other", {}).to_json(), None)
    found = place.manifest()
    assert found is not None
    assert found[0].store == "one"
    assert place.replace(Manifest("other", {}).to_json(), found[1])
    assert not place.replace(Manifest("third", {}).to_json(), found[1])
    assert place.existing().store == "other"


def test_a_saver_that_is_killed_leaves_the_archive_as_it_was(place: Bucket, server: Server) -> None:
    entry = written(place, np.zeros(10))
    place.replace(Manifest("s", {"a/b": entry}).to_json(), None)
    code = f"""
from outlive.archive.opening import place_of
place = place_of({place.url!r}, {server.options!r})
def pieces():
    for _ in range(8):
        yield memoryview(bytes(8 << 20))
        print("sent", flush=True)
place.write("arrays/half", pieces(), 64 << 20)
"""
    saver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert saver.stdout is not None
    for _ in range(4):
        saver.stdout.readline()
    saver.send_signal(signal.SIGKILL)
    saver.wait()
    assert set(place.sizes()) == {entry.file}
    assert read(place, place.existing().entries["a/b"]).tolist() == [0] * 10


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_killed_is_an_error_that_says_so(
    kind: type[Server], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("outlive.archive.bucket._RETRIES", {"max_retries": 1})
    server = kind()
    request.addfinalizer(server.kill)
    place = place_of("s3://bucket/run", server.options)
    assert isinstance(place, Bucket)
    entry = written(place, np.zeros(10))

    def pieces() -> Iterator[memoryview]:
        yield memoryview(bytes(20 << 20))
        server.kill()
        yield memoryview(bytes(20 << 20))

    with pytest.raises(ArchiveUnavailable, match="s3://bucket/run"):
        place.write("arrays/half", pieces(), 40 << 20)
    for call in (place.manifest, place.sizes, lambda: read(place, entry), lambda: place.replace(b"{}", None)):
        with pytest.raises(ArchiveUnavailable, match="s3://bucket/run"):
            call()


def test_no_such_bucket(server: Server) -> None:
    place = place_of("s3://nobody/run", server.options)
    with pytest.raises((ArchiveUnavailable, ArchiveNotFound)):
        place.existing()
    with pytest.raises(ArchiveUnavailable, match="s3://nobody/run: there is no such bucket.*make it first"):
        place.write("arrays/x", [b"x"], 1)


URLS = {
    "nothing://x": "nothing://x.*Archives are in folders, and in object storage",
    "s3://": "names no bucket",
    "s3:///x": "names no bucket",
    "memory:///x": "is no object storage",
    "http://host/x": "is no object storage",
    "s3://bucket/x?versionId=7": "options",
    "s3://bucket/run#7": "has no",
    "s3://bucket/../x": "has no",
    "s3://bucket//a//b": "empty",
    "s3://[x/y": r"s3://\[x/y",
}


@pytest.mark.parametrize("url", URLS)
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=URLS[url]):
        place_of(url)


def test_keys_in_a_url_are_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="environment") as caught:
        place_of("s3://id:very-secret@bucket/run")
    assert "very-secret" not in str(caught.value)


OPTIONS: list[tuple[dict[Any, Any], str]] = [
    ({"acces_key_id": "x"}, "option 'acces_key_id' is not known; is 'access_key_id' meant"),
    ({"nonsense": "x"}, "option 'nonsense' is not known; see"),
    ({"region": 7}, "option 'region': its value is text.*not int"),
    ({"region": None}, "option 'region'.*NoneType"),
    ({"timeout": 5}, "option 'timeout'.*'30s'"),
    ({"timeout": "never"}, "never"),
    ({"allow_http": "maybe"}, "maybe"),
    ({"endpoint": "localhost:9000"}, "option 'endpoint'.*begins with http://"),
    ({"endpoint": ""}, "option 'endpoint'"),
    ({"aws_endpoint_url": "minio"}, "option 'aws_endpoint_url'"),
    ({"root_certificate": b"x", "region": b"x"}, "option 'region'"),
    ({7: "x"}, "option 7"),
    ({"http2_max_frame_size": "x"}, "s3://bucket/run"),  # obstore panics
    ({"allow_invalid_certificates": "true", "http2_only": True, "connect_timeout": "5s"}, ""),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS, ids=str)
def test_an_option_that_cannot_be_is_named_at_once(options: dict[Any, Any], said: str) -> None:
    if not said:
        place_of("s3://bucket/run", options)
        return
    with pytest.raises(ValueError, match=said):
        place_of("s3://bucket/run", options)


def test_a_panic_of_obstore_is_an_error_of_ours(place: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    class Panics:
        def __getattr__(self, name: str) -> Any:
            raise PanicException("index out of bounds")

    place.__dict__["_store"] = Panics()
    for call in (place.manifest, place.sizes, lambda: place.write("arrays/x", [b"x"], 1), lambda: place.delete(["x"])):
        with pytest.raises(ArchiveUnavailable, match="obstore failed: index out of bounds"):
            call()


def test_the_environment_may_name_a_server_without_tls(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"endpoint": "AWS_ENDPOINT_URL", "region": "AWS_REGION"}
    for name, value in server.options.items():
        monkeypatch.setenv(names.get(name, f"AWS_{name.upper()}"), value)
    assert place_of("s3://bucket/nothing").sizes() == {}


def test_a_file_has_no_more_parts_than_a_server_takes(place: Bucket) -> None:
    said: dict[str, Any] = {}

    class Store:
        def put(self, _name: str, _data: Any, **how: Any) -> None:
            said.update(how)

    place.__dict__["_store"] = Store()
    place.write("arrays/x", iter([b""]), 1 << 40)
    assert said["chunk_size"] * 10_000 >= 1 << 40


def test_a_place_can_be_pickled(place: Bucket) -> None:
    import pickle

    entry = written(place, np.zeros(3))
    assert pickle.loads(pickle.dumps(place)).sizes() == {entry.file: entry.bytes}


def test_errors_of_python_in_the_middle_of_a_file_leave_nothing(place: Bucket) -> None:
    def pieces() -> Iterator[memoryview]:
        yield memoryview(bytes(20 << 20))
        raise KeyboardInterrupt

    with pytest.raises(BaseException):  # noqa: B017, PT011 - obstore raises it as another
        place.write("arrays/half", pieces(), 40 << 20)
    assert place.sizes() == {}
