"""model.onnx of a submission: is it a plain graph, what does it cost, what does it answer.

All of it is found out in processes of their own (`graph_process`, `wisp.macs.count_onnx`), bounded in memory and time;
where photos are answered, in the sandbox.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wisp import strict_json
from wisp.artifact import ArtifactInfo
from wisp.child_process import run_bounded
from wisp.errors import ModelError, SubmissionError
from wisp.macs import contradiction, count_onnx
from wisp.records import Violation
from wisp.sandbox import Limits, confinement, run_python
from wisp.submission.contents import MODEL
from wisp.submission.layout import PACK_AGAIN, printable
from wisp.submission.manifest import Manifest

MEMORY_BYTES = 4 << 30  # of the process: its address space
SECONDS, SECONDS_AN_IMAGE = 60, 0.05  # of processor time
_WALL = 10  # times as long by the clock: a busy machine is no reason to refuse a model
_LARGEST_DESCRIPTION = 8 << 20
# The program, with the module path of this process: the child finds the same wisp, and nothing in the current folder.
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from wisp.submission.graph_process import main; main(sys.argv[1:])"
)


def describe_model(path: Path) -> ArtifactInfo:
    """What the model says about itself, once it is known to be a plain graph. It is read, not run.

    Raises:
        SubmissionError: no ONNX model, more than a plain graph, or not made by wisp; the message has no file name.
    """
    metadata, _ = _ask(path, [], SECONDS, 0)
    try:
        return ArtifactInfo.from_metadata(metadata, where="it")
    except ModelError as error:
        raise SubmissionError(str(error).removeprefix("it: ")) from error


def classify_images(path: Path, images: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.float32]:
    """The probabilities that a stranger's model gives.

    Args:
        path: the model, which `describe_model` has accepted.
        images: uint8, N x size x size x 3, RGB.
        classes: outputs of the model.

    Returns:
        float32, N x classes.

    Raises:
        SubmissionError: it cannot be run, or not within its bounds; the message has no file name.
    """
    count, size = len(images), images.shape[1]
    seconds = round(SECONDS + SECONDS_AN_IMAGE * count)
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.u8"
        if isinstance(images, np.memmap) and images.filename is not None and images.offset == 0:
            pixels = Path(os.fspath(images.filename)).resolve()
        else:
            images.tofile(pixels)
        _, answers = _ask(path, [str(pixels), str(count), str(size)], seconds, 4 * count * classes)
    if len(answers) != 4 * count * classes:
        raise SubmissionError(f"does not give {classes} probabilities for each photo")
    return np.frombuffer(answers, np.float32).reshape(count, classes)


def check_graph(path: Path, manifest: Manifest) -> Iterator[Violation]:
    """The model is a plain graph, says what the manifest says, and costs what it says; recounted from the graph."""
    try:
        info = describe_model(path)
    except SubmissionError as error:
        yield _violation("graph", str(error))
        return
    if info.labels != manifest.classes:
        yield _violation("classes", "its classes, or their order, are not those of the manifest")
    for rule, what, here, said in (
        ("image-size", "input size", info.resize.size, manifest.image_size),
        ("macs", "deployed MACs", info.macs, manifest.macs.deployed),
        ("macs", "official MACs", info.macs_as_trained, manifest.macs.official),
    ):
        if here != said:
            yield _violation(rule, f"names {here:,} as its {what}, the manifest {said:,}")
    try:
        report = count_onnx(path)
    except ModelError as error:
        yield _violation("graph", printable(str(error).removeprefix(f"{path}: ")))
        return
    counted = (report.total, report.complete)
    claimed = (manifest.macs.onnx, manifest.macs.onnx_complete)
    if counted != claimed:
        message = f"the manifest claims {_count(*claimed)} MACs for its graph; counted are {_count(*counted)}"
        yield _violation("macs", message)
    doubt = contradiction(info.macs, report)
    if doubt is not None:
        yield Violation(
            "macs", "warning", MODEL, None, doubt, "let a person look at what the counter passes over"
        )


def _ask(path: Path, images: list[str], seconds: int, answer_bytes: int) -> tuple[dict[str, str], bytes]:
    """Run the process: the model's metadata, and what follows it."""
    arguments = [
        str(path.resolve()),
        str(MEMORY_BYTES),
        str(seconds),
        *images,
    ]  # the sandbox has a folder of its own
    limit = _LARGEST_DESCRIPTION + answer_bytes
    # Reading is Python's work, and its own limits are enough. Running is that of a library that was not written for
    # hostile files: where the sandbox can shut everything else out, it does.
    shut_in = bool(images) and confinement().mode == "bubblewrap"
    output, reason = (_ask_confined if shut_in else _ask_bounded)(arguments, seconds, limit)
    if output is None:
        bounds = f"at most {MEMORY_BYTES >> 30} GiB of memory and {seconds} seconds are given"
        raise SubmissionError(f"cannot be read or run within its bounds ({printable(reason)}; {bounds})")
    head, _, answers = output.partition(b"\n")
    try:
        said = strict_json.loads(head)
    except strict_json.StrictJsonError as error:
        raise SubmissionError(f"cannot be described ({error})") from error
    if said["problems"]:
        raise SubmissionError(printable(said["problems"][0]))
    return said["metadata"], answers


def _ask_bounded(arguments: list[str], seconds: int, output_bytes: int) -> tuple[bytes | None, str]:
    """What the process prints; None, and how it ended, where it did not end well."""
    program = _PROGRAM.format(path=[entry for entry in sys.path if entry])
    done = run_bounded(
        [sys.executable, "-I", "-c", program, *arguments],
        seconds=_WALL * seconds,
        output_bytes=output_bytes,
        environment={"OMP_NUM_THREADS": "1"},
    )
    return (done.output if done.end == "exit" and not done.status else None), done.reason


def _ask_confined(arguments: list[str], seconds: int, output_bytes: int) -> tuple[bytes | None, str]:
    limits = Limits(
        wall_seconds=_WALL * seconds,
        cpu_seconds=seconds,
        memory_bytes=MEMORY_BYTES,
        processes=16,
        output_bytes=2 * output_bytes,  # the first and the last half are kept
    )
    with tempfile.TemporaryDirectory(prefix="wisp-") as scratch:
        done = run_python(
            ["-m", "wisp.submission.graph_process", *arguments],
            scratch=Path(scratch),
            read_only=[Path(arguments[0]), Path(arguments[3])],
            limits=limits,
            environment={"OMP_NUM_THREADS": "1"},
        )
    return (done.stdout if done.ok and not done.truncated else None), done.reason


def _count(macs: int, complete: bool) -> str:
    return f"{macs:,}{'' if complete else ' (incomplete)'}"


def _violation(rule: str, message: str) -> Violation:
    return Violation(rule, "violation", MODEL, None, message, PACK_AGAIN)
