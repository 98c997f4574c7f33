"""The documentation is tested: options, links, command lines and Python snippets."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import click
import pytest
from PIL import Image

from tiny_onnx import INFO, write_colour_model
from wisp.cli.main import VERBS, cli
from wisp.files import write_json, write_text
from wisp.models import ArchSpec
from wisp.train.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = tuple(
    sorted([*ROOT.glob("*.md"), *(path for path in DOCS.rglob("*.md") if "records" not in path.parts)])
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
SHELL, SYNOPSIS = frozenset({"bash", "console", "sh"}), ""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield Block(page, line, match["language"], match["text"])


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name: `data inspect`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


BLOCKS = tuple(_blocks())
COMMANDS: Mapping[str, click.Command] = MappingProxyType(dict(_commands(cli)))
INDEX = dict(
    re.findall(
        r"^\| `wisp ([a-z ]+)` \| \[[\w.]+\]\(([\w.]+)\)", (DOCS / "README.md").read_text("utf-8"), re.M
    )
)


def _shell_lines(block: Block) -> Iterator[str]:
    """The commands of a block: continued lines joined; in a console, only what was typed."""
    for line in block.text.replace("\\\n", " ").splitlines():
        typed = line.strip()
        if block.language == "console" or typed.startswith("$ "):
            if not typed.startswith("$ "):
                continue
            typed = typed.removeprefix("$ ")
        if typed and not typed.startswith("#"):
            yield typed


def _wisp_lines(languages: frozenset[str]) -> list[tuple[str, str]]:
    return [
        (f"{block}: {line}", line)
        for block in BLOCKS
        if block.language in languages
        for line in _shell_lines(block)
        if line.startswith("wisp ")
    ]


def _find(words: list[str]) -> tuple[str, click.Command, list[str]]:
    """The command that `wisp words...` runs, and its arguments."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, COMMANDS[name], words[length:]
    raise AssertionError(f"no such command: wisp {' '.join(words)}")


def _words(line: str) -> list[str]:
    """What the shell would pass on: without comment, redirection and pipe."""
    words = shlex.split(line, comments=True)
    for position, word in enumerate(words):
        if word in {"|", ">", "&&", ";"}:
            return words[:position]
    return words


def test_something_was_found() -> None:
    assert set(VERBS) <= {name.partition(" ")[0] for name in COMMANDS}
    assert {"optimize", "train", "data inspect", "data get"} <= set(COMMANDS)
    assert {ROOT / "README.md", ROOT / "README.ko.md", DOCS / "data.md"} <= set(PAGES)
    assert len(_wisp_lines(SHELL)) >= 5
    assert sum(block.language == "python" for block in BLOCKS) >= 5


def test_help_lines_are_the_commands_own() -> None:
    context = click.Context(cli)
    for name, (_, _, line) in VERBS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(limit=200) == line


def test_the_index_names_every_command_and_page() -> None:
    assert set(INDEX) == set(COMMANDS)
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    missing = [
        page.name for page in DOCS.glob("*.md") if page.name != "README.md" and f"({page.name})" not in index
    ]
    assert not missing, f"docs/README.md does not link {missing}"


def test_the_readmes_name_every_verb() -> None:
    for page in (ROOT / "README.md", ROOT / "README.ko.md"):
        text = page.read_text(encoding="utf-8")
        assert [verb for verb in VERBS if f"`wisp {verb}`" not in text] == [], page.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_on_the_page_of_its_command(name: str) -> None:
    page = DOCS / INDEX[name]
    text = page.read_text(encoding="utf-8")
    assert f"wisp {name}" in text
    options = [
        option.opts[-1]
        for option in COMMANDS[name].params
        if isinstance(option, click.Option) and not option.hidden
    ]
    missing = [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)]
    assert not missing, f"{page.name} lacks {missing} of wisp {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_pages_name_exist(page: Path) -> None:
    """In the text, an option in backquotes belongs to wisp, or stands behind another program's name."""
    known = {option for command in COMMANDS.values() for param in command.params for option in param.opts}
    known |= {"--help", "--version"}
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    named = re.findall(r"`(--[a-z][\w-]*)", prose)
    for code in re.findall(r"`wisp ([^`]*)`", prose):
        named += re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    others = {"--out", "--record", "--data"} if page.name == "CONTRIBUTING.md" else set()
    assert [option for option in named if option not in known | others] == []


@pytest.mark.parametrize(("where", "line"), _wisp_lines(SHELL), ids=lambda value: value[:60])
def test_command_lines_parse(where: str, line: str) -> None:
    name, command, arguments = _find(_words(line)[1:])
    try:
        command.make_context(f"wisp {name}", arguments)
    except click.ClickException as error:
        pytest.fail(f"{where}: {error.format_message()}")
    except click.exceptions.Exit:
        pass  # --list and --help end here


@pytest.mark.parametrize(("where", "line"), _wisp_lines(frozenset({SYNOPSIS})), ids=lambda value: value[:60])
def test_synopses_name_real_commands_and_options(where: str, line: str) -> None:
    name, command, arguments = _find(re.sub(r"[\[\]]", " ", line).split()[1:])
    known = {"--help", *(option for param in command.params for option in param.opts)}
    unknown = [word for word in arguments if word.startswith("-") and word not in known]
    assert not unknown, f"{where}: wisp {name} has no {unknown}"


def test_both_readmes_give_the_same_commands() -> None:
    def commands(page: Path) -> list[list[str]]:
        shown = [block for block in BLOCKS if block.page == page and block.language in SHELL]
        return [_words(line) for block in shown for line in _shell_lines(block)]

    english = commands(ROOT / "README.md")
    assert ["make", "demo"] in english
    assert ["make", "test"] in english
    assert commands(ROOT / "README.ko.md") == english


def _slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or not file.is_relative_to(ROOT):
            broken.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text(encoding="utf-8")), re.M)
            if anchor not in map(_slug, headings):
                broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_paths_of_one_machine(page: Path) -> None:
    found = re.findall(r"(?<![\w.:/])/(?:home|Users|root|tmp|mnt|opt|srv|work)\b\S*", page.read_text("utf-8"))
    assert not found


@pytest.fixture
def beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the snippets take as given: photos, a model, a run that holds one."""
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for label, colour in zip(INFO.labels, ("red", "green", "blue"), strict=True):
            for number in range(count):
                path = tmp_path / "photos" / split / label / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40 + number, 30), colour).save(path)
    for name in ("photo.jpg", "new.jpg"):
        Image.new("RGB", (64, 48), "red").save(tmp_path / name)
    write_colour_model(tmp_path / "model.onnx")
    write_colour_model(tmp_path / "run" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_snippets_run(block: Block, beginning: Path) -> None:
    if "open_run(" in block.text:  # this one makes the run
        shutil.rmtree(beginning / "run")
    code = compile(block.text, str(block), "exec")
    exec(code, {"__name__": "snippet", "__file__": str(beginning / "snippet.py")})  # noqa: S102  (that is the test)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in {"toml", "json"}], ids=str)
def test_data_snippets_parse(block: Block, tmp_path: Path) -> None:
    if block.language == "toml":
        value = tomllib.loads(block.text)
        assert value
        if block.page.name == "train.md":
            write_text(tmp_path / "recipe.toml", block.text)
            assert Recipe.load(tmp_path / "recipe.toml")
    else:
        value = json.loads(block.text)
        if "options" in value:
            write_json(tmp_path / "arch.json", value)
            assert ArchSpec.load(tmp_path / "arch.json").num_classes == value["num_classes"]


def test_the_architecture_page_is_that_of_the_code() -> None:
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    parts = [
        path.name if path.is_file() else f"{path.name}/"
        for path in (ROOT / "src" / "wisp").iterdir()
        if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
    ]
    assert len(parts) > 10
    assert [part for part in parts if f"\n  {part} " not in page] == []

    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    layers = "\n".join(layer.replace("wisp.", "") for layer in contract["layers"])
    assert f"```\n{layers}\n```" in page


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    page = (DOCS / "DEPENDENCIES.md").read_text(encoding="utf-8")
    _, *sections = re.split(r"^## ", page, flags=re.M)
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    for section, requirements in zip(sections, wanted, strict=True):
        listed = set(re.findall(r"^\| (\w[\w-]*) \|", section, re.M)) - {"package"}
        names = {re.split(r"[<>=!~ \[;]", requirement, maxsplit=1)[0] for requirement in requirements}
        assert listed - {"torchvision"} == names


def test_every_recipe_field_is_documented_with_its_default() -> None:
    page = (DOCS / INDEX["train"]).read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]*?)`? \|", page, re.M))
    defaults = {name: str(value) for name, value in asdict(Recipe()).items()}
    assert defaults
    wrong = {
        name: shown.get(name)
        for name, value in defaults.items()
        if shown.get(name, "").lower() != value.lower()
    }
    assert not wrong
