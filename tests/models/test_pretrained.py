"""Starting from weights in a file, or from a server that behaves well or badly."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wisp.errors import DownloadError, ModelError
from wisp.models import build, load_pretrained, named, pretrained_names, read_weights
from wisp.models import pretrained as module

NAME = "squeezenet1_1"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bytes]:
    """A file of weights as the server has it: its name says its hash, as torchvision's do."""
    torch.save(build(named(NAME, 1000)).state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    file_name = f"{NAME}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(module, "_FILES", {NAME: file_name})
    return file_name, content


Serve = Callable[[dict[str, bytes]], tuple[str, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server of some files; gives its address and the list of paths that were asked for."""
    servers: list[ThreadingHTTPServer] = []

    def start(files: dict[str, bytes], announced: int | None = None) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                content = files.get(self.path.removeprefix("/"))
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(announced or len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _same(network: nn.Module, weights: dict[str, Tensor], *, but: tuple[str, ...] = ()) -> bool:
    state = network.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in weights.items() if name not in but)


def test_downloads_once_and_leaves_the_classifier_out(
    published: tuple[str, bytes], serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_name, content = published
    monkeypatch.setenv("WISP_CACHE", str(tmp_path / "cache"))
    address, asked = serve({file_name: content})
    network = build(named(NAME, 9))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random_state = torch.get_rng_state()
    left_out = load_pretrained(network, "download", address=address)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert left_out == ("classifier.1.weight", "classifier.1.bias")
    weights = read_weights(tmp_path / "weights.pth")
    assert _same(network, weights, but=left_out)
    assert torch.equal(network.state_dict()["classifier.1.weight"], before["classifier.1.weight"])

    whole = build(named(NAME, 1000))
    assert load_pretrained(whole, "download", address=address) == ()
    assert _same(whole, weights)
    assert asked == [f"/{file_name}"]  # the second time came from the cache

    cached = tmp_path / "cache" / "weights" / file_name
    cached.write_bytes(content[:-1])  # damaged: fetched again
    load_pretrained(whole, "download", address=address)
    assert len(asked) == 2
    assert cached.read_bytes() == content


def test_a_wrong_hash_leaves_nothing(
    published: tuple[str, bytes], serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_name, content = published
    monkeypatch.setenv("WISP_CACHE", str(tmp_path / "cache"))
    address, _ = serve({file_name: content[:-10]})
    with pytest.raises(DownloadError, match="hash") as caught:
        load_pretrained(build(named(NAME, 9)), "download", address=address)
    assert file_name in str(caught.value)
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_a_server_without_the_file_or_no_server(published: tuple[str, bytes], serve: Serve) -> None:
    address, _ = serve({})
    network = build(named(NAME, 9))
    with pytest.raises(DownloadError, match=r"404.*--pretrained FILE"):
        load_pretrained(network, "download", address=address)
    with pytest.raises(DownloadError, match=r"cannot be downloaded .*refused.*--pretrained FILE"):
        load_pretrained(network, "download", address="http://127.0.0.1:9/")


@pytest.mark.parametrize("name", ["wisp-2m", "mobilenet_v2-0.35", "ghostnet"])
def test_says_when_nothing_is_published(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"no published weights fit this .*; there are some for: mobilenet_v2, "
    ):
        load_pretrained(build(named(name, 9)), "download", address="http://127.0.0.1:9/")


@pytest.mark.parametrize("name", pretrained_names())
def test_recognises_each_published_network(name: str) -> None:
    assert module._published_name(build(named(name, 4))) == name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_takes_a_local_file(suffix: str, tmp_path: Path) -> None:
    source, target = build(named("wisp-250k", 5)), build(named("wisp-250k", 5))
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": source.state_dict(), "epoch": 3}, path)  # a checkpoint works too
    else:
        save_file(source.state_dict(), path)
    assert load_pretrained(target, path) == ()
    assert _same(target, source.state_dict())
    assert load_pretrained(build(named("wisp-250k", 6)), str(path)) == (
        "classifier.weight",
        "classifier.bias",
    )


def test_old_files_without_batch_counters_load(tmp_path: Path) -> None:
    source, target = build(named("wisp-250k", 5)), build(named("wisp-250k", 5))
    weights = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(weights, tmp_path / "old.safetensors")
    assert load_pretrained(target, tmp_path / "old.safetensors") == ()
    assert _same(target, weights)


def test_weights_of_another_network_change_nothing(tmp_path: Path) -> None:
    network = build(named("wisp-250k", 5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = tmp_path / "other.safetensors"

    save_file(build(named("wisp-500k", 5)).state_dict(), path)
    with pytest.raises(ModelError, match=r"other.safetensors: of another network: .* has shape"):
        load_pretrained(network, path)
    save_file(build(named("resnet8", 5)).state_dict(), path)
    with pytest.raises(ModelError, match=r"tensors missing, such as .*; \d+ tensors unknown"):
        load_pretrained(network, path)
    weights = {**network.state_dict(), "extra": torch.zeros(1)}
    save_file(weights, path)
    with pytest.raises(ModelError, match="1 tensors unknown, such as extra"):
        load_pretrained(network, path)
    weights = {name: tensor + 1 for name, tensor in network.state_dict().items() if name != "classifier.bias"}
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"1 tensors missing, such as classifier\.bias"):
        load_pretrained(network, path)
    assert _same(network, before)


class _Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploited"),))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"\x80\x02K", pickle.dumps(_Exploit()), pickle.dumps(_Exploit(), protocol=2)],
    ids=["empty", "html", "cut", "exploit", "old exploit"],
)
def test_unreadable_files(
    suffix: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"no readable weights file") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice to read it all the same
    assert not (tmp_path / "exploited").exists()


def test_missing_and_meaningless_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such weights file"):
        load_pretrained(build(named("resnet8", 3)), tmp_path / "missing.pth")
    for value in ([1, 2], {"epoch": 3}, torch.zeros(2)):
        torch.save(value, tmp_path / "odd.pth")
        with pytest.raises(ModelError, match="holds no named tensors"):
            read_weights(tmp_path / "odd.pth")
