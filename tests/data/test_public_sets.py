"""Public sets: the real TrashNet and TACO where they are, and small stand-ins behind a local server."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from wisp.data.download import Downloader
from wisp.data.public_sets import taco, trashnet
from wisp.data.public_sets.taco import get_taco, taco_classes
from wisp.data.public_sets.trashnet import get_trashnet
from wisp.errors import DataError, DownloadError

TRASHNET_COUNTS = {"train": 1768, "val": 328, "test": 431}
QUICK = Downloader(attempts=2, sleep=lambda _: None, timeout_s=5)


class _Quiet(SimpleHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        code = self.server.faults.get(self.path)
        if code:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


Serve = Callable[[Path], Any]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a folder over HTTP; the server has `.url`, `.paths` (asked for) and `.faults` (path -> status)."""
    running: list[tuple[Any, threading.Thread]] = []

    def start(folder: Path) -> Any:
        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        server.daemon_threads = True
        server.paths, server.faults = [], {}
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


# --- TrashNet, the real one


@pytest.mark.slow
def test_trashnet_by_its_authors_split(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = get_trashnet(out, str(shared_data / "trashnet"), progress=False)
    assert {split: sum(of.values()) for split, of in report.counts.items()} == TRASHNET_COUNTS
    assert report.counts["test"] == {
        "cardboard": 70,
        "glass": 82,
        "metal": 68,
        "paper": 108,
        "plastic": 74,
        "trash": 29,
    }
    on_disk = Counter(path.parts[0] for path in (p.relative_to(out) for p in out.rglob("*.jpg")))
    assert on_disk == TRASHNET_COUNTS
    assert report.written == 2527
    with zipfile.ZipFile(shared_data / "trashnet" / "dataset-resized.zip") as archive:
        assert (out / "test/paper/paper70.jpg").read_bytes() == archive.read(
            "dataset-resized/paper/paper70.jpg"
        )

    (out / "train/glass/glass1.jpg").unlink(missing_ok=True)
    (out / "test/paper/paper70.jpg").write_bytes(b"damaged")
    (out / "test/paper/.part-x.jpg").write_bytes(b"half")
    before = report.counts
    archive_path = shared_data / "trashnet" / "dataset-resized.zip"
    again = get_trashnet(out, archive_path.as_uri(), progress=False)
    assert again.counts == before
    assert 1 <= again.written <= 2
    assert not (out / "test/paper/.part-x.jpg").exists()
    # The laid-out folder is a copy like any other, with the lists beside it.
    for name in shared_data.glob("trashnet/*.txt"):
        shutil.copy(name, tmp_path)
    assert get_trashnet(tmp_path / "copy", str(out), progress=False).written == 2527
    assert files(tmp_path / "copy") == files(out)


@pytest.mark.parametrize("address", ["", "/", "/dataset-resized.zip"])
def test_trashnet_from_a_mirror(shared_data: Path, tmp_path: Path, serve: Serve, address: str) -> None:
    server = serve(shared_data / "trashnet")
    report = get_trashnet(tmp_path / "out", server.url + address, downloader=QUICK, progress=False)
    assert report.written == 2527
    assert len(server.paths) == 4
    get_trashnet(tmp_path / "out", server.url + address, downloader=QUICK, progress=False)
    assert len(server.paths) == 4  # kept in the cache


def test_trashnet_refuses_an_altered_photo(shared_data: Path, tmp_path: Path, serve: Serve) -> None:
    source = tmp_path / "source"
    shutil.copytree(shared_data / "trashnet", source)
    (source / "dataset-resized.zip").chmod(0o644)
    with zipfile.ZipFile(source / "dataset-resized.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["dataset-resized/glass/glass1.jpg"] += b"x"
    with zipfile.ZipFile(source / "dataset-resized.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"not TrashNet's \(sha256 expected ed83a59e.*got "):
        get_trashnet(tmp_path / "out", str(source), progress=False)
    server = serve(source)
    with pytest.raises(DownloadError, match="removed, run again"):
        get_trashnet(tmp_path / "out", server.url, downloader=QUICK, progress=False)
    assert not (tmp_path / "out").exists()
    del members["dataset-resized/glass/glass1.jpg"], members["dataset-resized/paper/paper9.jpg"]
    with zipfile.ZipFile(source / "dataset-resized.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(
        DataError, match=r"2 of 2,527 photos of TrashNet are missing \(first: glass/glass1\.jpg"
    ):
        get_trashnet(tmp_path / "out", str(source), progress=False)


# --- TrashNet, a stand-in of five photos


@pytest.fixture
def small_trashnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like TrashNet's repository, with checksums to match."""
    root = tmp_path / "repository"
    lists = {
        "train": "glass1.jpg 1\npaper1.jpg 2\ntrash1.jpg 6\n",
        "val": "metal1.jpg 5\n",
        "test": "glass2.jpg 1\n",
    }
    photos = {
        f"{label}/{label}{number}.jpg": f"{label}{number}".encode()
        for label, number in (("glass", 1), ("glass", 2), ("paper", 1), ("metal", 1), ("trash", 1))
    }
    root.mkdir()
    with zipfile.ZipFile(root / "dataset-resized.zip", "w") as archive:
        for name, content in photos.items():
            archive.writestr(f"dataset-resized/{name}", content)
            archive.writestr(f"__MACOSX/dataset-resized/{name.replace('/', '/._')}", b"litter")
    for split, content in lists.items():
        (root / f"one-indexed-files-notrash_{split}.txt").write_text(content)
    lines = "".join(f"{hashlib.sha256(photos[name]).hexdigest()}  {name}\n" for name in sorted(photos))
    monkeypatch.setattr(trashnet, "_PHOTOS_SHA256", hashlib.sha256(lines.encode()).hexdigest())
    sums = {split: hashlib.sha256(content.encode()).hexdigest() for split, content in lists.items()}
    monkeypatch.setattr(trashnet, "_LIST_SHA256", sums)
    return root


def test_trashnet_from_its_public_address(
    small_trashnet: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(small_trashnet)
    monkeypatch.setattr(trashnet, "_ARCHIVE_URL", f"{server.url}/dataset-resized.zip")
    monkeypatch.setattr(trashnet, "_LISTS_URL", f"{server.url}/")
    report = get_trashnet(tmp_path / "out", downloader=QUICK, progress=False)
    assert report.counts == {
        "train": {"glass": 1, "paper": 1, "trash": 1},
        "val": {"metal": 1},
        "test": {"glass": 1},
    }
    assert files(tmp_path / "out") == [
        ".wisp.lock",
        "test/glass/glass2.jpg",
        "train/glass/glass1.jpg",
        "train/paper/paper1.jpg",
        "train/trash/trash1.jpg",
        "val/metal/metal1.jpg",
    ]


def test_trashnet_takes_lists_from_the_public_address_where_a_mirror_has_none(
    small_trashnet: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (small_trashnet / "dataset-resized.zip").rename(bare / "dataset-resized.zip")
    public, mirror = serve(small_trashnet), serve(bare)
    monkeypatch.setattr(trashnet, "_LISTS_URL", f"{public.url}/")
    get_trashnet(tmp_path / "a", str(bare / "dataset-resized.zip"), downloader=QUICK, progress=False)
    get_trashnet(tmp_path / "b", mirror.url, downloader=QUICK, progress=False)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    monkeypatch.setattr(trashnet, "_LISTS_URL", f"{public.url}/none/")
    monkeypatch.setenv("WISP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DownloadError, match="HTTP 404"):
        get_trashnet(tmp_path / "c", str(bare), downloader=QUICK, progress=False)


def test_trashnet_refuses_other_lists_but_not_line_ends(small_trashnet: Path, tmp_path: Path) -> None:
    train = small_trashnet / "one-indexed-files-notrash_train.txt"
    train.write_bytes(train.read_bytes().replace(b"\n", b"\r\n"))
    assert get_trashnet(tmp_path / "out", str(small_trashnet), progress=False).written == 5
    train.write_text("glass1.jpg 2\n")
    with pytest.raises(DataError, match=r"train\.txt: not the authors' list \(sha256 expected"):
        get_trashnet(tmp_path / "out", str(small_trashnet), progress=False)


def test_trashnet_refuses_a_folder_with_other_photos(small_trashnet: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "train" / "glass").mkdir(parents=True)
    (out / "train" / "glass" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"mine\.jpg: not a photo of TrashNet; choose another --out"):
        get_trashnet(out, str(small_trashnet), progress=False)
    with pytest.raises(DataError, match="a file; --out needs a folder"):
        get_trashnet(out / "train" / "glass" / "mine.jpg", str(small_trashnet), progress=False)
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".wisp.lock"), pytest.raises(DataError, match="another wisp process"):
        get_trashnet(tmp_path / "busy", str(small_trashnet), progress=False)


def test_sources_that_are_none(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none"), (tmp_path / "none.zip").as_uri()):
        with pytest.raises(DataError, match="no such folder or archive"):
            get_trashnet(tmp_path / "out", source)
    with pytest.raises(DataError, match="not an address"):
        get_taco(tmp_path / "out", "ftp://host/taco")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no annotations\.json in it"):
        get_taco(tmp_path / "out", str(tmp_path / "empty"))
    assert not (tmp_path / "out").exists()


# --- TACO


def test_the_class_table_names_all_of_taco(shared_data: Path) -> None:
    document = json.loads((shared_data / "taco" / "annotations.json").read_bytes())
    table = taco_classes()
    assert table.keys() == {category["name"] for category in document["categories"]}
    assert len(table) == 60
    assert set(table.values()) - {""} == {
        "Battery",
        "Clothing",
        "Glass",
        "Metal",
        "Paper",
        "Paperpack",
        "Plastic",
        "Plasticbag",
        "Styrofoam",
    }


def test_the_class_table_agrees_with_waste9(shared_data: Path) -> None:
    table = taco_classes()
    with zipfile.ZipFile(shared_data / "waste9" / "waste9.zip") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("index.csv")]
        rows = csv.DictReader(io.StringIO(archive.read(name).decode()))
        used = {(row["taco_category"], row["class"]) for row in rows if row["taco_category"]}
    assert len(used) > 50
    assert used <= set(table.items())
    assert {category for category, label in table.items() if label} == {category for category, _ in used}


@pytest.mark.slow
def test_the_real_taco_archive(shared_data: Path, tmp_path: Path) -> None:
    report = get_taco(tmp_path / "out", str(shared_data / "taco" / "taco416.zip"), progress=False)
    totals: Counter[str] = Counter()
    for of_class in report.crops.counts.values():
        totals.update(of_class)
    assert totals == {
        "Battery": 2,
        "Clothing": 7,
        "Glass": 125,
        "Metal": 336,
        "Paper": 374,
        "Paperpack": 34,
        "Plastic": 778,
        "Plasticbag": 634,
        "Styrofoam": 95,
    }
    assert report.crops.reasons() == {
        "category not in the class map": 1146,
        "box smaller than the minimal size": 766,
    }
    assert report.crops.unmapped() == {
        "Cigarette": 633,
        "Unlabeled litter": 472,
        "Rope & strings": 27,
        "Food waste": 7,
        "Aluminium blister pack": 6,
        "Carded blister pack": 1,
    }
    assert report.not_fetched == report.crops.photo_problems == ()
    again = get_taco(
        tmp_path / "out", str(shared_data / "taco"), progress=False
    )  # finds the archive by itself
    assert again.crops.written == 0
    assert again.crops.counts == report.crops.counts


def photo_bytes(colour: str, size: tuple[int, int] = (60, 40), kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


class SmallTaco:
    """Five photos behind a server, and annotations that carry their addresses."""

    def __init__(self, root: Path, server: Any) -> None:
        self.root, self.server = root, server
        names = [f"batch_1/{number}.jpg" for number in range(5)]
        self.document = {
            "images": [
                {
                    "id": number,
                    "file_name": name,
                    "width": 600,
                    "height": 400,
                    "flickr_url": f"{server.url}/{name}",
                    "flickr_640_url": f"{server.url}/small/{number}.jpg" if number == 1 else None,
                }
                for number, name in enumerate(names)
            ],
            "categories": [{"id": 0, "name": "Drink can"}, {"id": 1, "name": "Cigarette"}],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 0, "bbox": [50, 50, 300, 200]}
                for number in range(5)
            ],
        }
        (root / "batch_1").mkdir(parents=True)
        (root / "small").mkdir()
        for name in names:
            (root / name).write_bytes(photo_bytes("red", (600, 400)))
        (root / "small" / "1.jpg").write_bytes(photo_bytes("red"))
        self.write()

    def write(self) -> str:
        content = json.dumps(self.document).encode()
        (self.root / "annotations.json").write_bytes(content)
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small_taco(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> SmallTaco:
    root = tmp_path / "site"
    root.mkdir()
    site = SmallTaco(root, serve(root))
    monkeypatch.setattr(taco, "_ANNOTATIONS_URL", f"{site.server.url}/annotations.json")
    monkeypatch.setattr(taco, "_ANNOTATIONS_SHA256", site.write())
    return site


def get_small(out: Path, source: str | None = None, **options: Any) -> taco.TacoReport:
    return get_taco(out, source, downloader=QUICK, progress=False, split=None, **options)


def test_taco_photo_by_photo(small_taco: SmallTaco, tmp_path: Path) -> None:
    report = get_small(tmp_path / "out")
    assert report.crops.counts == {"": {"Metal": 5}}
    assert report.not_fetched == ()
    asked = len(small_taco.server.paths)
    assert asked == 6
    assert get_small(tmp_path / "out").crops.written == 0
    assert len(small_taco.server.paths) == asked


def test_dead_addresses_are_counted_and_fetched_later(small_taco: SmallTaco, tmp_path: Path) -> None:
    small_taco.server.faults.update({"/batch_1/0.jpg": 404, "/batch_1/1.jpg": 410, "/batch_1/2.jpg": 500})
    report = get_small(tmp_path / "out")
    assert [name for name, _ in report.not_fetched] == [
        "batch_1/0.jpg",
        "batch_1/2.jpg",
    ]  # 1 has a smaller copy
    assert "HTTP 404" in report.not_fetched[0][1]
    assert "gave up after 2 attempts" in report.not_fetched[1][1]
    assert report.crops.reasons() == {"photo missing": 2}
    with (tmp_path / "out" / "not_fetched.csv").open() as file:
        assert [row["photo"] for row in csv.DictReader(file)] == ["batch_1/0.jpg", "batch_1/2.jpg"]
    small_taco.server.faults.clear()
    report = get_small(tmp_path / "out")
    assert report.crops.written == 2
    assert report.not_fetched == ()


def test_pictures_that_are_not_the_photo_are_refused(small_taco: SmallTaco, tmp_path: Path) -> None:
    (small_taco.root / "batch_1/0.jpg").write_bytes(photo_bytes("grey", (500, 374)))  # "photo unavailable"
    (small_taco.root / "batch_1/2.jpg").write_text("<html>sign in</html>")
    report = get_small(tmp_path / "out")
    assert [name for name, _ in report.not_fetched] == ["batch_1/0.jpg", "batch_1/2.jpg"]
    assert all("not the annotated photo" in reason for _, reason in report.not_fetched)


def test_photos_without_a_usable_address(
    small_taco: SmallTaco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: Any = small_taco.document["images"]
    images[0]["flickr_url"] = None
    images[1]["file_name"] = "../../up.jpg"
    images[2]["flickr_url"] = "ftp://host/2.jpg"
    monkeypatch.setattr(taco, "_ANNOTATIONS_SHA256", small_taco.write())
    report = get_small(tmp_path / "out")
    assert report.crops.total == 2
    reasons = dict(report.not_fetched)
    assert "no address" in reasons["batch_1/0.jpg"]
    assert "not a name inside a folder" in reasons["../../up.jpg"]
    assert "not an address" in reasons["batch_1/2.jpg"]


def test_a_network_that_is_down_stops_soon(
    small_taco: SmallTaco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_taco.server.faults.update({f"/batch_1/{number}.jpg": 503 for number in range(5)})
    small_taco.server.faults["/small/1.jpg"] = 503
    with pytest.raises(DownloadError, match=r"none of 5 photos could be fetched \(first: .*HTTP 503"):
        get_small(tmp_path / "out")
    monkeypatch.setattr(taco, "_SILENT_IN_A_ROW", 3)
    with pytest.raises(DownloadError, match="3 photos in a row could not be fetched"):
        get_small(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_annotations_than_published_are_refused(
    small_taco: SmallTaco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taco, "_ANNOTATIONS_SHA256", "0" * 64)
    with pytest.raises(DownloadError, match=r"annotations\.json: wrong checksum"):
        get_small(tmp_path / "out")


def test_taco_from_mirrors_and_copies(small_taco: SmallTaco, tmp_path: Path) -> None:
    images: Any = small_taco.document["images"]
    for image in images:
        image["flickr_url"] = "http://nowhere.invalid/"
    small_taco.write()
    assert get_small(tmp_path / "mirror", small_taco.server.url).crops.total == 5
    assert get_small(tmp_path / "folder", str(small_taco.root)).crops.total == 5
    with zipfile.ZipFile(small_taco.root / "photos.zip", "w") as archive:
        for number in range(5):
            archive.writestr(f"TACO/batch_1/{number}.JPG", photo_bytes("red", kind="PNG"))
    beside = get_small(tmp_path / "beside", str(small_taco.root / "photos.zip"))
    assert beside.crops.total == 5
    with zipfile.ZipFile(small_taco.root / "photos.zip", "a") as archive:
        archive.write(small_taco.root / "annotations.json", "TACO/annotations.json")
    assert get_small(tmp_path / "zip", f"{small_taco.server.url}/photos.zip").crops.total == 5
    only = {"Drink can": "Can"}
    assert get_small(tmp_path / "own", str(small_taco.root), class_map=only).crops.counts == {"": {"Can": 5}}
