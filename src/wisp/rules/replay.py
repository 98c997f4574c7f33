"""`python -m wisp.rules.replay`: runs a written program, without its author's code, in a confined process of its own.

Starts in a folder with `request.json`, `program.json` and `program.safetensors`; prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from wisp import strict_json
from wisp.errors import ModelError
from wisp.rules.probes import draw_images
from wisp.rules.program import run_program
from wisp.rules.testimony import PROGRAM, REQUEST, TENSORS


def main() -> int:
    """Run what lies in the working folder."""
    torch.set_num_threads(1)
    request = json.loads(Path(REQUEST).read_text(encoding="utf-8"))
    try:
        program = strict_json.loads(Path(PROGRAM).read_bytes(), max_depth=16, max_containers=1_000_000)
        images = draw_images(request["seed"], request["image_size"])
        found = run_program(program, load_file(TENSORS), images)
        said: dict[str, Any] = {**found._asdict(), "answers": found.answers.tolist()}
    except ModelError as error:
        said = {"failure": str(error)}
    except (strict_json.StrictJsonError, OSError, ValueError, KeyError, TypeError) as error:
        said = {"failure": f"its program is damaged ({error})"}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
