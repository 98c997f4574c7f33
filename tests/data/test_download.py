"""The downloader against a server on this machine that misbehaves as servers do."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from wisp.data.download import AddressGoneError, Downloader, _as_reason, local_path
from wisp.errors import DataError, DownloadError
from wisp.files import file_sha256

BODY = bytes(range(256)) * 1200  # 307,200 bytes: several chunks
# Connections drop at multiples of the 64 KiB in which the downloader reads and keeps.
SHA256 = hashlib.sha256(BODY).hexdigest()

Behaviour = Callable[["_Handler"], None]


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        site: Site = self.server.site
        site.requests.append((self.path, dict(self.headers)))
        script = site.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def log_message(self, *args: object) -> None:
        pass

    def head(self, status: int, /, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()


@dataclass
class Site:
    """A server whose answers are a script: one behaviour a request, the last one for ever."""

    url: str
    script: list[Behaviour] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


@pytest.fixture
def site() -> Iterator[Site]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.site = Site(f"http://127.0.0.1:{server.server_port}/file.bin")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def downloader(pauses: list[float]) -> Downloader:
    return Downloader(attempts=4, sleep=pauses.append, timeout_s=5)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "file.bin"


def whole(body: bytes = BODY, etag: str | None = '"v1"', ranges: bool = True) -> Behaviour:
    """A good server: Range and If-Range as RFC 9110 says."""

    def answer(request: _Handler) -> None:
        wanted = request.headers.get("Range")
        tags = {"ETag": etag} if etag else {}
        if wanted and ranges and request.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                request.head(416, 0, Content_Range=f"bytes */{len(body)}")
                return
            request.head(
                206,
                len(body) - start,
                Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}",
                **tags,
            )
            request.wfile.write(body[start:])
        else:
            request.head(200, len(body), **tags)
            request.wfile.write(body)

    return answer


def dropped(after: int, body: bytes = BODY, **headers: str) -> Behaviour:
    """Announce everything from the wanted offset on, send `after` bytes of it, hang up."""

    def answer(request: _Handler) -> None:
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        extra = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if wanted else {}
        request.head(206 if wanted else 200, len(body) - start, **extra, **headers)
        request.wfile.write(body[start : start + after])

    return answer


def status(code: int, **headers: str) -> Behaviour:
    return lambda request: request.head(code, 0, **headers)


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_a_whole_file_arrives(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [whole()]
    assert downloader.fetch(site.url, target, sha256=SHA256, progress=True) == target
    assert target.read_bytes() == BODY
    assert leftovers(target) == []


def test_a_file_that_is_there_is_not_fetched_again(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [whole()]
    downloader.fetch(site.url, target, sha256=SHA256)
    downloader.fetch(site.url, target, sha256=SHA256)
    downloader.fetch(site.url, target)
    assert len(site.requests) == 1


def test_a_damaged_file_that_is_there_is_replaced(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [whole()]
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    downloader.fetch(site.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


def test_a_dropped_connection_goes_on_where_it_stopped(
    site: Site, downloader: Downloader, target: Path, pauses: list[float]
) -> None:
    site.script = [dropped(131_072, ETag='"v1"'), dropped(65_536, ETag='"v1"'), whole()]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert site.ranges() == [None, "bytes=131072-", "bytes=196608-"]
    assert site.requests[1][1]["If-Range"] == '"v1"'
    assert len(pauses) == 2
    assert leftovers(target) == []


def test_progress_excuses_failures(site: Site, pauses: list[float], target: Path) -> None:
    downloader = Downloader(attempts=2, sleep=pauses.append, timeout_s=5)
    big = BODY * 3
    site.script = [*[dropped(150_000, big, ETag='"v1"')] * 6, whole(big)]
    downloader.fetch(site.url, target)
    assert target.read_bytes() == big


def test_a_later_process_goes_on(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [dropped(131_072, ETag='"v1"'), status(500)]
    with pytest.raises(DownloadError, match="run again to go on"):
        downloader.fetch(site.url, target)
    assert not target.exists()
    assert leftovers(target) == ["file.bin.part", "file.bin.part.json"]
    site.script = [whole()]
    Downloader(sleep=lambda _: None).fetch(site.url, target)
    assert site.ranges()[-1] == "bytes=131072-"
    assert target.read_bytes() == BODY
    assert leftovers(target) == []


def test_a_file_that_changes_between_attempts_is_fetched_anew(
    site: Site, downloader: Downloader, target: Path
) -> None:
    other = BODY[::-1]
    site.script = [dropped(131_072, ETag='"v1"'), whole(other, etag='"v2"')]
    downloader.fetch(site.url, target)
    assert target.read_bytes() == other


def test_last_modified_serves_where_the_etag_is_weak(
    site: Site, downloader: Downloader, target: Path
) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    site.script = [dropped(131_072, ETag='W/"x"', Last_Modified=date), whole(etag=date)]
    downloader.fetch(site.url, target)
    assert site.requests[1][1]["If-Range"] == date


def test_without_a_version_nothing_is_glued_together(
    site: Site, downloader: Downloader, target: Path
) -> None:
    site.script = [dropped(131_072), whole(etag=None)]
    downloader.fetch(site.url, target)
    assert site.ranges() == [None, None]
    assert target.read_bytes() == BODY


def test_without_a_version_a_checksum_allows_going_on(
    site: Site, downloader: Downloader, target: Path
) -> None:
    site.script = [dropped(131_072), whole(etag=None)]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert site.ranges() == [None, "bytes=131072-"]
    assert target.read_bytes() == BODY


def test_a_server_that_ignores_range_starts_over(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [dropped(131_072, ETag='"v1"'), whole(ranges=False)]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert site.ranges() == [None, "bytes=131072-"]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("answer", ["bytes 5-307199/307200", "items 1-2/3", "bytes 0-307199/307200"])
def test_a_wrong_content_range_starts_over(
    site: Site, downloader: Downloader, target: Path, answer: str
) -> None:
    def wrong(request: _Handler) -> None:
        request.head(206, 3, Content_Range=answer)
        request.wfile.write(b"abc")

    site.script = [dropped(131_072, ETag='"v1"'), wrong, whole()]
    downloader.fetch(site.url, target)
    assert site.ranges() == [None, "bytes=131072-", None]
    assert target.read_bytes() == BODY


def test_a_part_as_long_as_the_file_is_fetched_anew(site: Site, downloader: Downloader, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(BODY)
    site.script = [whole()]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert site.ranges() == ["bytes=307200-", None]
    assert target.read_bytes() == BODY


def test_an_unknown_total_length_is_accepted(site: Site, downloader: Downloader, target: Path) -> None:
    def unknown_total(request: _Handler) -> None:
        request.head(206, len(BODY) - 131_072, Content_Range=f"bytes 131072-{len(BODY) - 1}/*")
        request.wfile.write(BODY[131_072:])

    site.script = [dropped(131_072, ETag='"v1"'), unknown_total]
    downloader.fetch(site.url, target)
    assert target.read_bytes() == BODY


def test_more_bytes_than_the_range_promised_start_over(
    site: Site, downloader: Downloader, target: Path
) -> None:
    def shrunk(request: _Handler) -> None:
        request.head(206, 10, Content_Range="bytes 131072-131073/131074")
        request.wfile.write(b"0123456789")

    site.script = [dropped(131_072, ETag='"v1"'), shrunk, whole()]
    downloader.fetch(site.url, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451])
def test_a_final_answer_gives_up_at_once(
    site: Site, downloader: Downloader, target: Path, pauses: list[float], code: int
) -> None:
    site.script = [status(code)]
    with pytest.raises(AddressGoneError, match=f"file.bin: HTTP {code}") as caught:
        downloader.fetch(site.url, target)
    assert "\n" not in str(caught.value)
    assert len(site.requests) == 1
    assert pauses == []
    assert not target.exists()


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(site: Site, downloader: Downloader, target: Path, code: int) -> None:
    site.script = [status(code), status(code), whole()]
    downloader.fetch(site.url, target)
    assert target.read_bytes() == BODY


def test_a_lasting_fault_gives_up_with_growing_pauses(
    site: Site, downloader: Downloader, target: Path, pauses: list[float]
) -> None:
    site.script = [status(500)]
    with pytest.raises(DownloadError, match=r"gave up after 4 attempts \(HTTP 500"):
        downloader.fetch(site.url, target)
    assert len(site.requests) == 4
    for pause, full in zip(pauses, (0.5, 1.0, 2.0), strict=True):
        assert full / 2 <= pause <= full


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_in_seconds_is_honoured(
    site: Site, downloader: Downloader, target: Path, pauses: list[float], code: int
) -> None:
    site.script = [status(code, Retry_After="17"), whole()]
    downloader.fetch(site.url, target)
    assert pauses == [17.0]


def test_retry_after_as_a_date_is_honoured(
    site: Site, downloader: Downloader, target: Path, pauses: list[float]
) -> None:
    when = email.utils.formatdate(time.time() + 40, usegmt=True)
    site.script = [status(429, Retry_After=when), whole()]
    downloader.fetch(site.url, target)
    assert 30 < pauses[0] <= 40


def test_a_senseless_retry_after_is_ignored(
    site: Site, downloader: Downloader, target: Path, pauses: list[float]
) -> None:
    site.script = [status(429, Retry_After="soon"), whole()]
    downloader.fetch(site.url, target)
    assert 0.25 <= pauses[0] <= 0.5


def test_a_very_long_retry_after_gives_up(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [status(429, Retry_After="86400")]
    with pytest.raises(DownloadError, match="come back in 86400 s"):
        downloader.fetch(site.url, target)


def test_a_truncated_file_never_takes_the_final_name(
    site: Site, downloader: Downloader, target: Path
) -> None:
    site.script = [dropped(1000, ETag='"v1"'), lambda request: request.close_connection]
    with pytest.raises(DownloadError, match="gave up"):
        downloader.fetch(site.url, target)
    assert not target.exists()


def test_a_wrong_checksum_is_tried_once_more_then_named(
    site: Site, downloader: Downloader, target: Path
) -> None:
    site.script = [whole(b"other")]
    got = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DownloadError, match=f"expected {SHA256}, got {got}"):
        downloader.fetch(site.url, target, sha256=SHA256)
    assert len(site.requests) == 2
    assert leftovers(target) == []
    assert not target.exists()


def test_a_wrong_checksum_may_be_right_the_second_time(
    site: Site, downloader: Downloader, target: Path
) -> None:
    site.script = [whole(b"other"), whole()]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


def test_redirects_are_followed(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [status(302, Location="/elsewhere"), whole()]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert [path for path, _ in site.requests] == ["/file.bin", "/elsewhere"]


def test_a_redirect_loop_ends(site: Site, downloader: Downloader, target: Path) -> None:
    site.script = [status(302, Location="/file.bin")]
    with pytest.raises(DownloadError, match="too many redirects"):
        downloader.fetch(site.url, target)


def test_an_encoded_body_is_decoded(site: Site, downloader: Downloader, target: Path) -> None:
    packed = gzip.compress(BODY)

    def answer(request: _Handler) -> None:
        request.head(200, len(packed), Content_Encoding="gzip", ETag='"v1"')
        request.wfile.write(packed)

    site.script = [answer]
    downloader.fetch(site.url, target, sha256=SHA256)
    assert target.read_bytes() == BODY


def test_a_silent_server_times_out(site: Site, target: Path, pauses: list[float]) -> None:
    release = threading.Event()

    def answer(request: _Handler) -> None:
        (whole() if pauses else lambda _: release.wait(60))(request)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        object.__setattr__(impatient, "timeout_s", 60.0)  # only the silent one is to be given up

    site.script = [answer]
    impatient = Downloader(timeout_s=0.2, sleep=pause)
    try:
        impatient.fetch(site.url, target)
    finally:
        release.set()
    assert target.read_bytes() == BODY
    assert len(pauses) == 1


def test_a_closed_port_gives_one_line(site: Site, downloader: Downloader, target: Path) -> None:
    with pytest.raises(DownloadError, match="gave up after 4 attempts") as caught:
        downloader.fetch("http://127.0.0.1:1/x", target)
    assert "\n" not in str(caught.value)


def test_an_unknown_host_says_so(downloader: Downloader, target: Path) -> None:
    with pytest.raises(DownloadError, match="online"):
        downloader.fetch("http://nowhere.invalid/x", target)


def test_too_large_a_file_is_refused_by_its_announced_length(site: Site, target: Path) -> None:
    site.script = [whole()]
    with pytest.raises(DownloadError, match="over the limit of 1,000"):
        Downloader(max_bytes=1000).fetch(site.url, target)
    assert leftovers(target) == []


def test_too_large_a_file_is_refused_without_a_length(site: Site, target: Path) -> None:
    def endless(request: _Handler) -> None:
        request.head(200)
        request.wfile.write(BODY)

    site.script = [endless]
    with pytest.raises(DownloadError, match="over the limit"):
        Downloader(max_bytes=70_000).fetch(site.url, target)
    assert leftovers(target) == []


def test_a_damaged_note_is_ignored(site: Site, downloader: Downloader, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"old")
    for note in ("not json", "[]", json.dumps({"url": "http://other/", "validator": '"v1"'})):
        target.with_name("file.bin.part.json").write_text(note)
        target.unlink(missing_ok=True)
        site.script = [whole()]
        downloader.fetch(site.url, target)
        assert site.ranges()[-1] is None
        assert target.read_bytes() == BODY


@pytest.mark.parametrize("form", ["path", "url"])
def test_local_files(tmp_path: Path, downloader: Downloader, target: Path, form: str) -> None:
    source = tmp_path / "a b.bin"
    source.write_bytes(BODY)
    downloader.fetch(str(source) if form == "path" else source.as_uri(), target, sha256=SHA256)
    assert target.read_bytes() == BODY


def test_local_files_that_do_not_fit(tmp_path: Path, downloader: Downloader, target: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"other")
    with pytest.raises(DataError, match=r"a\.bin: wrong checksum"):
        downloader.fetch(str(source), target, sha256=SHA256)
    assert not target.exists()
    with pytest.raises(DataError, match="no such file"):
        downloader.fetch(str(tmp_path / "none.bin"), target)
    with pytest.raises(DataError, match="limit of 3 bytes"):
        Downloader(max_bytes=3).fetch(str(source), target)


@pytest.mark.parametrize("address", ["ftp://host/x", "gopher://x"])
def test_other_schemes_are_refused(downloader: Downloader, target: Path, address: str) -> None:
    with pytest.raises(DataError, match="not an address that can be fetched"):
        downloader.fetch(address, target)


@pytest.mark.parametrize("address", ["http://", "http://[::1/x", "http://host:port/"])
def test_broken_addresses_are_refused(downloader: Downloader, target: Path, address: str) -> None:
    with pytest.raises(DataError, match="not an address"):
        downloader.fetch(address, target)


def test_a_target_that_cannot_be_written(site: Site, downloader: Downloader, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    site.script = [whole()]
    with pytest.raises(DownloadError, match="cannot be written"):
        downloader.fetch(site.url, tmp_path / "file" / "x.bin")


def test_local_path_and_checksum(tmp_path: Path) -> None:
    assert local_path("https://host/x") is None
    assert local_path("a/b") == Path("a/b")
    (tmp_path / "x").write_bytes(b"")
    assert file_sha256(tmp_path / "x").startswith("e3b0c442")


def test_what_errors_of_the_network_mean() -> None:
    untrusted = urllib3.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED")
    assert "certificate is not trusted" in str(_as_reason("u", untrusted))
    assert not isinstance(_as_reason("u", untrusted), AddressGoneError)
    assert str(_as_reason("u", urllib3.exceptions.DecodeError())) == "no connection"
