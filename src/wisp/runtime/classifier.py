"""Run one exported model on photos."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wisp.artifact import INPUT_NAME, OUTPUT_NAME, SEAL_KEY, ArtifactInfo, check_seal
from wisp.errors import DataError, ModelError
from wisp.images import Photo, Pixels, preprocess

if TYPE_CHECKING:
    import onnxruntime

FIRST_IMAGE_SECONDS = 60.0  # networks of this kind take a thousandth of a second
ARTIFACT_NAME = "model.onnx"  # inside a run folder
_FATAL = 4  # of ONNX Runtime's severities
_IMAGES_PER_CALL = 64  # keeps activations inside the processor's caches; larger batches are no faster


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model sees on one photo.

    Attributes:
        label: the most probable class; of equals the first.
        probability: its probability, 0 to 1.
        probabilities: every class's, in the model's order of classes.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]

    def top(self, k: int) -> tuple[tuple[str, float], ...]:
        """The `k` most probable classes (fewer where the model has fewer), most probable first."""
        return tuple(sorted(self.probabilities.items(), key=lambda item: -item[1])[:k])


class Classifier:
    """An exported wisp model, ready to classify.

    Calls from several threads are safe. A model holds no state between photos.

    Args:
        path: the `.onnx` file, or the run folder it lies in.
        threads: threads of ONNX Runtime inside one call. One is the fastest at these network sizes (handing a layer
            of some 10,000 multiply-accumulates to another core costs more than computing it), and leaves the other
            cores free; use several classifiers or threads for several photos at once.

    Raises:
        ModelError: the file is missing, damaged, is no ONNX model, was not made by wisp, or contradicts its own
            metadata.
    """

    def __init__(self, path: Path | str, *, threads: int = 1) -> None:
        if threads < 1:
            raise ModelError(f"threads must be at least 1, got {threads}")
        self.path = _find(Path(path))
        self._session, sealed = _open(self.path, threads)
        metadata = _read_metadata(self._session, self.path)
        if SEAL_KEY in metadata and not sealed:
            raise ModelError(
                f"{self.path}: changed by another tool since it was exported, so its own figures may not be true any "
                "more; export the run again"
            )
        self.info = ArtifactInfo.from_metadata(metadata, where=str(self.path))
        self._check()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the output."""
        return self.info.labels

    def __repr__(self) -> str:
        rule = self.info.resize
        return f"Classifier({str(self.path)!r}: {len(self.labels)} classes, {rule.size} px, {self.info.macs:,} MACs)"

    def classify(self, source: Photo) -> Prediction:
        """Classify one photo.

        Args:
            source: a path, encoded bytes, a binary stream, a Pillow image, or RGB pixels (uint8, height x width x 3).

        Raises:
            DataError: the photo cannot be read; the message names it.
        """
        return self._prediction(self._run(preprocess(source, self.info.resize)[None])[0])

    def classify_many(
        self, sources: Iterable[Photo], *, batch: int = 32, workers: int | None = None
    ) -> Iterator[Prediction | DataError]:
        """Classify photos in order, `batch` at a time; only one batch is ever in memory.

        Args:
            sources: what `classify` takes.
            batch: photos decoded, then classified, together.
            workers: threads that decode (nearly all of the time goes there); None means one a core.

        Yields:
            For each photo its prediction, or the DataError (not raised) that says why it cannot be read: one
            damaged photo among thousands need not cost the others.
        """
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        remaining = iter(sources)
        with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
            while group := list(islice(remaining, batch)):
                decoded = list(threads.map(self._try_preprocess, group))
                rows = [row for row in decoded if not isinstance(row, DataError)]
                found = iter(self.probabilities(np.stack(rows)) if rows else ())
                for row in decoded:
                    yield row if isinstance(row, DataError) else self._prediction(next(found))

    def probabilities(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities of images that are preprocessed already.

        Args:
            images: uint8, N x size x size x 3, RGB (`wisp.images.preprocess` makes them).

        Returns:
            float32, N x classes.

        Raises:
            DataError: another shape or type.
        """
        size = self.info.resize.size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise DataError(
                f"images must be uint8, N x {size} x {size} x 3 for {self.path.name}, got {images.dtype} of shape "
                f"{images.shape}"
            )
        out = np.empty((len(images), len(self.labels)), np.float32)
        for start in range(0, len(images), _IMAGES_PER_CALL):
            out[start : start + _IMAGES_PER_CALL] = self._run(images[start : start + _IMAGES_PER_CALL])
        return out

    def _run(self, images: Pixels, options: onnxruntime.RunOptions | None = None) -> npt.NDArray[np.float32]:
        inputs = {INPUT_NAME: np.ascontiguousarray(images)}
        result: npt.NDArray[np.float32] = self._session.run([OUTPUT_NAME], inputs, options)[0]
        return result

    def _try_preprocess(self, source: Photo) -> Pixels | DataError:
        try:
            return preprocess(source, self.info.resize)
        except DataError as error:
            return error

    def _prediction(self, row: npt.NDArray[np.float32]) -> Prediction:
        best = int(row.argmax())
        values = row.tolist()
        return Prediction(self.labels[best], values[best], dict(zip(self.labels, values, strict=True)))

    def _check(self) -> None:
        """Run one grey image: the surest way to know that the graph is what its metadata says."""
        size, classes = self.info.resize.size, len(self.labels)
        if len(set(self.labels)) != classes:
            raise ModelError(
                f"{self.path}: damaged wisp metadata (a label appears twice); export the run again"
            )
        try:
            with _time_limit(FIRST_IMAGE_SECONDS) as options:
                output = self._run(np.full((1, size, size, 3), 128, np.uint8), options)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ModelError(
                f"{self.path}: does not take one uint8 image of {size} x {size} x 3 as its metadata says "
                f"({_first_line(error)}); export the run again"
            ) from error
        if output.shape != (1, classes):
            raise ModelError(
                f"{self.path}: names {classes} labels but gives an output of shape {output.shape}; "
                "export the run again"
            )


def _find(path: Path) -> Path:
    if path.is_dir():
        if not (path / ARTIFACT_NAME).is_file():
            raise ModelError(
                f"{path}: no {ARTIFACT_NAME} in this folder; make one with: wisp export {shlex.quote(str(path))}"
            )
        return path / ARTIFACT_NAME
    if not path.exists():
        raise ModelError(f"{path}: no such model file")
    return path


def _open(path: Path, threads: int) -> tuple[onnxruntime.InferenceSession, bool]:
    """The model, and whether its bytes were proved to be those that were exported."""
    import onnxruntime  # noqa: PLC0415  (0.13 s, which `import wisp.runtime` must not cost)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = (
        _FATAL  # errors reach the caller as exceptions; its warnings are about the graph
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
    try:
        model = path.read_bytes()
        sealed = check_seal(model, where=str(path))
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]), sealed
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot read this file ({error.strerror})") from error
    except Exception as error:
        raise ModelError(f"{path}: not an ONNX model that can be run ({_first_line(error)})") from error


def _read_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, str]:
    try:
        metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: damaged metadata (not UTF-8); export the run again") from error
    return metadata


@contextmanager
def _time_limit(seconds: float) -> Iterator[onnxruntime.RunOptions]:
    """Options of a run that ends with an error after `seconds`: a damaged graph may hold a loop without end."""
    import onnxruntime  # noqa: PLC0415  (loaded by now)

    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
