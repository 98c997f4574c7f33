"""The judge of a network that can be run: counts, and everything that may make a count untrue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from wisp.errors import ModelError
from wisp.macs import MacsReport, ProgramReport, count_exact, count_macs
from wisp.records import Severity, Violation
from wisp.rules import behaviour, hidden_work
from wisp.rules.findings import HIDDEN_COMPUTATION, ONE_INFERENCE, finding
from wisp.rules.line_trace import Line, LineTrace, parting
from wisp.rules.specimens import make_two
from wisp.rules.state import State, changes, memory, structure, torch_itself
from wisp.rules.subject import Run, Subject, alike, apart, differs, main_output, seed
from wisp.rules.tracing import check_tracing, where_exported

_SHOWN = 3
Report = TypeVar("Report", bound=MacsReport)


@dataclass(frozen=True)
class Examination:
    """What an examination found.

    Attributes:
        findings: violations and warnings.
        official: the competition's count, as the modules' hooks see it.
        exact: the exact count.
        answers: the network's main output for each image, K x classes.
        model: the network that was examined last, with the weights that the answers are of.
    """

    findings: tuple[Violation, ...]
    official: MacsReport
    exact: ProgramReport
    answers: Tensor
    model: nn.Module


def examine(
    make: Callable[[], nn.Module],
    images: Tensor,
    *,
    torch_before: State,
    weights: Mapping[str, Tensor] | None = None,
    num_classes: int | None = None,
) -> Examination:
    """Judge the network that `make` makes, by running it.

    Args:
        make: gives a new network; it is called several times.
        images: what it is asked about, K x channels x side x side, K at least 2. The count is for this size.
        torch_before: `torch_itself()` before any of the network's code was loaded.
        weights: its weights. None: random ones, no layer zero, batch norms fitted to the images.
        num_classes: how many outputs it must have; None: any number.

    Raises:
        ModelError: it cannot be judged: it cannot be made, run or counted; the message says why.
    """
    side, channels = images.shape[-1], images.shape[1]
    first, second = make_two(make, images, weights)
    findings: list[Violation] = []
    before = structure(first)
    subject = Subject(first, images)
    subject.answers = [_answer(subject, images[at : at + 1]) for at in range(len(images))]
    findings += _evaluation_mode(first)
    findings += _answers_shape(subject.answers[0], num_classes)
    while_counted = LineTrace(first)
    with while_counted.watching():
        official = _counted(lambda: count_macs(first, side, channels))
    exact = _counted(lambda: count_exact(first, side, channels))
    reference = _reference(subject)
    findings += _counting_noticed(reference, while_counted)
    findings += hidden_work.uncountable(exact, lambda: _text(where_exported(subject, reference)))
    findings += hidden_work.uncounted_work(first, reference.seen)
    findings += hidden_work.miscounted_layers(official, reference.seen)
    findings += hidden_work.much_besides(official, reference.seen)
    findings += _rebuilt(before, structure(first), first)
    findings += _remembered(subject)
    findings += _every_behaviour(subject, reference)
    fresh = Subject(second, images)
    findings += behaviour.check_fresh(subject, reference, fresh)
    findings += _counted_again(official, second, side, channels, "a new network after its first call")
    findings += _after_training(subject, reference, official)
    findings += _patched(torch_before)
    return Examination(_without_repetitions(findings), official, exact, torch.cat(subject.answers), second)


def _text(line: Line | None) -> str | None:
    return None if line is None else str(line)


def _counting_noticed(reference: Run, trace: LineTrace) -> Iterator[Violation]:
    """The counter runs the network on a blank image; it must go the way of every other run."""
    where = parting(reference.lines, trace.lines)
    if where is not None:
        yield differs("goes another way while the competition's counter runs it", where)


def _answer(subject: Subject, image: Tensor) -> Tensor:
    try:
        return subject.plain(image)
    except Exception as error:  # the network's own code may raise anything
        raise ModelError(
            f"cannot be judged: it fails on an image of {image.shape[-1]} px ({_line(error)}); give its size with "
            "--image-size"
        ) from error


def _counted(count: Callable[[], Report]) -> Report:
    try:
        return count()
    except ModelError as error:
        raise ModelError(f"cannot be judged: {error}") from error
    except Exception as error:  # the counter reads what the network gives its layers
        raise ModelError(f"cannot be judged: the counter fails on it ({_line(error)})") from error


def _reference(subject: Subject) -> Run:
    try:
        return subject.watched(subject.images[:1])
    except Exception as error:
        raise ModelError(
            f"cannot be judged: it fails when its operators are watched ({_line(error)})"
        ) from error


def _every_behaviour(subject: Subject, reference: Run) -> Iterator[Violation]:
    for check in (
        behaviour.check_watching,
        behaviour.check_images,
        behaviour.check_batches,
        behaviour.check_repetition,
        check_tracing,
        behaviour.check_sizes,
        behaviour.check_training_flag,
    ):
        yield from check(subject, reference)


def _evaluation_mode(model: nn.Module) -> Iterator[Violation]:
    stuck = next(((name, module) for name, module in model.named_modules() if module.training), None)
    if stuck is None:
        return
    name, module = stuck
    above = [part for path, part in model.named_modules() if not path or f"{name}.".startswith(f"{path}.")]
    replaced = [type(part).train.__code__ for part in above if type(part).train is not nn.Module.train]
    yield finding(
        HIDDEN_COMPUTATION,
        "violation",
        f"{replaced[0].co_filename}:{replaced[0].co_firstlineno}" if replaced else None,
        f"stays in training mode after eval() ({type(module).__name__})",
        "let eval() reach every module; do not override train() to the contrary",
        module=name,
    )


def _answers_shape(answer: Tensor, num_classes: int | None) -> Iterator[Violation]:
    wanted = (1, answer.shape[-1] if num_classes is None else num_classes)
    if tuple(answer.shape) != wanted:
        yield finding(
            ONE_INFERENCE,
            "violation",
            None,
            f"gives {tuple(answer.shape)} for one image, not one logit a class"
            f"{'' if num_classes is None else f' ({num_classes})'}",
            "build(num_classes) must return a network that gives N x num_classes logits",
            module="",
        )


def _rebuilt(before: State, after: State, model: nn.Module) -> Iterator[Violation]:
    changed = changes(before, after)
    if changed:
        yield finding(
            HIDDEN_COMPUTATION,
            "violation",
            None,
            f"changes itself when it runs: {', '.join(changed[:_SHOWN])}{', ...' if len(changed) > _SHOWN else ''}",
            "make every layer and every hook in __init__, once",
            module=_owner(changed[0], model),
        )


def _owner(path: str, model: nn.Module) -> str:
    """The module that something lies in, by the path of it."""
    names = [name for name, _ in model.named_modules() if name and path.startswith(f"{name}.")]
    return max(names, key=len, default="")


def _remembered(subject: Subject) -> Iterator[Violation]:
    """What an image leaves behind that was seen just before, and what another one does."""
    states = [memory(subject.model)]
    for at in (0, 0, 1):
        subject.plain(subject.images[at : at + 1])
        states.append(memory(subject.model))
    _, first, again, other = states
    told: tuple[tuple[tuple[str, ...], Severity, str], ...] = (
        (changes(first, again), "violation", "counts its calls: the same image changes"),
        (changes(again, other), "warning", "keeps something from image to image:"),
    )
    for changed, severity, what in told:
        if changed:
            shown = f"{', '.join(changed[:_SHOWN])}{', ...' if len(changed) > _SHOWN else ''}"
            fix = "keep no state between images"
            owner = _owner(changed[0], subject.model)
            yield finding(ONE_INFERENCE, severity, None, f"{what} {shown}", fix, module=owner)
            return


def _counted_again(
    official: MacsReport, model: nn.Module, side: int, channels: int, when: str
) -> Iterator[Violation]:
    again = _counted(lambda: count_macs(model, side, channels))
    if again.layers == official.layers:
        return
    name = hidden_work.count_differs(
        {layer.name: layer.macs for layer in official.layers},
        {layer.name: layer.macs for layer in again.layers},
    )
    yield finding(
        HIDDEN_COMPUTATION,
        "violation",
        None,
        f"the counter gives {official.total:,} MACs, and {again.total:,} for {when}",
        "make every layer in __init__, and keep them as they are",
        module=name or "",
    )


def _after_training(subject: Subject, reference: Run, official: MacsReport) -> Iterator[Violation]:
    """A step of training changes weights, and nothing else."""
    model, images = subject.model, subject.images
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = structure(model)
    try:
        seed()
        with torch.enable_grad():
            loss = main_output(model.train()(images)).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
    except (
        Exception
    ):  # a network that cannot be trained here (in batches of this size, say) is judged as it is
        return
    finally:
        model.eval()
        model.zero_grad(set_to_none=True)
    changed = changes(before, structure(model))
    if changed:
        yield finding(
            HIDDEN_COMPUTATION,
            "violation",
            None,
            f"is another network after a step of training: {', '.join(changed[:_SHOWN])}",
            "training may change weights alone",
            module=_owner(changed[0], model),
        )
        return
    model.load_state_dict(weights)
    again = subject.watched(images[:1])
    if again.seen.work != reference.seen.work or not alike(again.output, subject.answers[0]):
        yield differs(
            "does something else after a step of training, with the same weights",
            apart(reference, again),
            "training may change weights alone",
        )
    yield from _counted_again(
        official, model, images.shape[-1], images.shape[1], "it after a step of training"
    )


def _patched(before: State) -> Iterator[Violation]:
    after = torch_itself()
    changed = [name for name in changes(before, after) if name in before]
    if changed:
        yield finding(
            HIDDEN_COMPUTATION,
            "violation",
            None,
            f"changes what it is judged with: {', '.join(changed[:_SHOWN])}{', ...' if len(changed) > _SHOWN else ''}",
            "leave torch, wisp and Python as they are",
        )


def _without_repetitions(findings: list[Violation]) -> tuple[Violation, ...]:
    return tuple(dict.fromkeys(findings))


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
