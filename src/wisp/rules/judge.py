"""`python -m wisp.rules.judge`: runs a source in a confined process, and testifies about it.

Starts in a folder that holds `request.json`; leaves `program.json` and `program.safetensors` there. The testimony
(`wisp.rules.testimony`) goes to what was standard output; whatever the source prints goes elsewhere. Loaded before the
source: everything that judges. Nothing that this process says is proof by itself, for it shares its memory with the
source: `wisp.rules.program` says how its answers are checked outside of it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from wisp.errors import ModelError
from wisp.models.source import load_source
from wisp.rules import testimony
from wisp.rules.examination import examine
from wisp.rules.listening import Listener
from wisp.rules.probes import draw_images
from wisp.rules.program import write_program
from wisp.rules.state import torch_itself
from wisp.rules.testimony import Witness

_QUIET = 2  # standard error


def main() -> int:
    """Judge what the request names."""
    request = _take_request()
    witness = Witness(os.dup(1), request.pop("word"))
    os.dup2(_QUIET, 1)
    sys.argv[:] = sys.argv[:1]
    torch.set_num_threads(1)
    _judge(request, witness)
    witness.finish()
    sys.stdout.flush()
    return 0


def _take_request() -> dict[str, Any]:
    """Read the request, and leave nothing of it for others to read."""
    path = Path(testimony.REQUEST)
    request: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return request


def _judge(request: dict[str, Any], witness: Witness) -> None:
    source, root = Path(request["source"]), Path(request["root"])
    images = draw_images(request["seed"], request["image_size"])
    weights = None if request["weights"] is None else load_file(request["weights"])
    before = torch_itself()
    listener = Listener(root, lambda item: witness.say(testimony.FINDING, asdict(item)))
    listener.start()
    try:
        examination = examine(
            lambda: load_source(source, request["num_classes"]),
            images,
            torch_before=before,
            weights=weights,
            num_classes=request["num_classes"],
        )
    except ModelError as error:
        witness.say(testimony.FAILED, str(error))
        return
    finally:
        witness.say(testimony.LOADED, listener.loaded)
    for item in examination.findings:
        witness.say(testimony.FINDING, asdict(item))
    counts = {
        "official": examination.official.total,
        "exact": examination.exact.total,
        "params": examination.exact.params,
    }
    witness.say(testimony.COUNTS, counts)
    witness.say(testimony.ANSWERS, examination.answers.tolist())
    try:
        program, tensors = write_program(examination.model, images[:1])
    except ModelError as error:
        witness.say(testimony.PROVED, str(error))
        return
    Path(testimony.PROGRAM).write_text(json.dumps(program), encoding="utf-8")
    save_file(tensors, testimony.TENSORS)
    witness.say(testimony.PROVED, None)


if __name__ == "__main__":
    sys.exit(main())
