"""Does a network do the same, whoever looks, whatever the image, and however often it is asked?

Each check runs the network in two ways that must not differ, and compares answers and operators. The line that tells
the two apart is the last one that both ran (`wisp.rules.line_trace`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from wisp.records import Violation
from wisp.rules.findings import ONE_INFERENCE, REPRODUCIBLE, finding
from wisp.rules.line_trace import Line, LineTrace, parting
from wisp.rules.subject import (
    SEED,
    Run,
    Subject,
    alike,
    apart,
    apart_in_values,
    attempt,
    differs,
    fails,
    same_work,
)

_MORE_CALLS = 24


def check_watching(subject: Subject, reference: Run) -> Iterator[Violation]:
    """With operators watched, with hooks on every module, with gradients recorded: nothing may change."""
    first = subject.images[:1]
    if not alike(reference.output, subject.answers[0]):
        yield differs("answers differently when its operators are watched", _unwatched(subject, reference))
    hooked = attempt(partial(subject.watched, first, hooked=True))
    yield from same_work(reference, hooked, "when hooks are on its modules")
    if isinstance(hooked, Run):
        yield from _towers(hooked)
    with_gradients = attempt(partial(subject.watched, first, inside=torch.enable_grad()))
    yield from same_work(reference, with_gradients, "when gradients are recorded")


def _unwatched(subject: Subject, reference: Run) -> Line | None:
    """Where a run with nothing but its lines noted parts from the watched one."""
    trace = LineTrace(subject.model)
    with trace.watching():
        subject.plain(subject.images[:1])
    return parting(reference.lines, trace.lines)


def check_images(subject: Subject, reference: Run) -> Iterator[Violation]:
    """The work must be the same for every image, and the answer must not depend on how the image lies in memory."""
    for index in range(1, len(subject.images)):
        run = attempt(partial(subject.watched, subject.images[index : index + 1]))
        if isinstance(run, Exception):
            yield fails("on one image and not on another", run)
            return
        if run.seen.work != reference.seen.work:
            yield differs(
                f"does other work for another image ({run.macs:,} MACs instead of {reference.macs:,})",
                apart(reference, run),
                "what is done must not depend on what the image shows",
            )
            return
        if not alike(run.output, subject.answers[index]):
            yield differs(
                "answers differently when its operators are watched", _unwatched(subject, reference)
            )
            return
    first = subject.images[:1]
    for what, image in (
        ("a copy of it", first.clone()),
        ("it lies in memory channels last", first.contiguous(memory_format=torch.channels_last)),
        ("it comes as part of a larger tensor", torch.cat([first, first])[1:]),
    ):
        if not alike(subject.plain(image), subject.answers[0]):
            yield differs(f"answers differently for the same image when {what} is given", None)


def check_batches(subject: Subject, reference: Run) -> Iterator[Violation]:
    """In a batch each image gets the answer, and the work, that it gets alone."""
    fix = "let no operation look across the first axis"
    for size in (2, len(subject.images)):
        run = attempt(partial(subject.watched, subject.images[:size]))
        if isinstance(run, Exception):
            yield fails(f"on {size} images at once, and not on one", run, ONE_INFERENCE, fix)
            return
        where = apart(reference, run)
        if run.output.shape[:1] != (size,):
            yield differs(
                f"gives {tuple(run.output.shape)} for {size} images at once", where, fix, ONE_INFERENCE
            )
            return
        if not all(alike(run.output[at : at + 1], subject.answers[at]) for at in range(size)):
            alone, together = (subject.watched(subject.images[:n], hooked=True) for n in (1, size))
            where = where or apart_in_values(alone, together)
            yield differs("the answer depends on the other images of the batch", where, fix, ONE_INFERENCE)
            return
        mine, single = (sum(seen.counted.values()) for seen in (run.seen, reference.seen))
        if mine != size * single:
            yield differs(
                f"does {mine:,} counted MACs for {size} images at once, and {single:,} for one",
                where,
                fix,
                ONE_INFERENCE,
            )
            return


def check_repetition(subject: Subject, reference: Run) -> Iterator[Violation]:
    """Asked again, the network must answer the same, with the same work."""
    first = subject.images[:1]
    again = subject.watched(first)
    where = apart(reference, again)
    one, other = (subject.watched(first, hooked=True, seeded=value) for value in (SEED, SEED + 1))
    if not alike(other.output, one.output) and alike(subject.plain(first), subject.answers[0]):
        yield differs(
            "the answer is drawn at random",
            where or apart_in_values(one, other),
            "a trained network answers an image in one way; switch dropout off in evaluation",
            ONE_INFERENCE,
        )
        return
    if not alike(again.output, subject.answers[0]) or again.seen.work != reference.seen.work:
        yield differs("does something else when it is asked again", where, "keep no state between images")
        return
    for number in range(_MORE_CALLS):
        if not alike(subject.plain(first), subject.answers[0]):
            yield differs(
                f"answers differently after more calls (number {number + 1} of {_MORE_CALLS})",
                apart(reference, subject.watched(first)),
                "keep no state between images",
            )
            return


def check_sizes(subject: Subject, reference: Run) -> Iterator[Violation]:
    """A smaller image must not cost more than a larger one: the count is to hold for the size that is used."""
    side = subject.images.shape[-1]
    runs: dict[int, Run] = {side: reference}
    for other in sorted(
        {side // 2, side * 3 // 4, side + side // 4, side * 3 // 2, side * 2, max(224, side)}
    ):
        if other in runs or other < 8:
            continue
        image = torch.nn.functional.interpolate(subject.images[:1], size=(other, other))
        run = attempt(partial(subject.watched, image))
        if isinstance(run, Run):  # many an honest network takes one size alone
            runs[other] = run
    largest = runs[min(runs)]
    fix = "what is done must not depend on the size of the image"
    for other in sorted(runs):
        run = runs[other]
        if run.seen.counted.keys() != reference.seen.counted.keys():
            yield differs(f"uses other layers for an image of {other} px", apart(reference, run), fix)
            return
        if run.macs < largest.macs:
            yield differs(
                f"does {run.macs:,} MACs for an image of {other} px, and {largest.macs:,} for a smaller one",
                apart(largest, run),
                fix,
            )
            return
        largest = run


def check_training_flag(subject: Subject, reference: Run) -> Iterator[Violation]:
    """Beside torch's own layers (dropout, batch norm) nothing that answers may hang on the training flag."""
    own = [
        module
        for module in subject.model.modules()
        if not type(module).__module__.startswith(("torch.", "torchvision.ops"))
    ]

    @contextmanager
    def flagged() -> Iterator[None]:
        for module in own:
            module.training = True
        try:
            yield
        finally:
            for module in own:
                module.training = False

    run = attempt(partial(subject.watched, subject.images[:1], inside=flagged()))
    if isinstance(run, Exception) or alike(run.output, reference.output):
        return  # auxiliary heads, branches that are fused later
    if run.macs > reference.macs:
        yield differs(
            f"with its training flag on, its answer is another and takes {run.macs:,} MACs instead of "
            f"{reference.macs:,}",
            apart(reference, run),
            "the network that answers must be the one that is counted, in evaluation",
        )
    elif run.macs < reference.macs:
        where = apart(reference, run)
        yield finding(
            ONE_INFERENCE,
            "warning",
            where and str(where),
            f"does more in evaluation ({reference.macs:,} MACs) than with its training flag on "
            f"({run.macs:,}): a human should look at what is added",
            "",
            module=where.module if where else "",
        )


def check_fresh(subject: Subject, reference: Run, fresh: Subject) -> Iterator[Violation]:
    """A new network with the same weights must do the same from its first call on."""
    run = attempt(lambda: fresh.watched(fresh.images[:1]))
    if isinstance(run, Exception):
        yield fails("when it is new, and not later", run)
        return
    where = apart(reference, run)
    if run.seen.work != reference.seen.work:
        yield differs(
            f"does {run.macs:,} MACs in its first call, and {reference.macs:,} later",
            where,
            "make every layer in __init__, and keep no state between images",
        )
    elif not alike(run.output, subject.answers[0]):
        yield differs(
            "a new network with the same weights answers differently",
            where,
            "what the answer depends on must be in the weights (parameters and buffers)",
            REPRODUCIBLE,
        )


def _towers(run: Run) -> Iterator[Violation]:
    """Several passes over copies of the image inside one network: for a human."""
    heads = [
        call for call in run.seen.calls if call.macs and call.lineage and call.lineage.roots == frozenset([0])
    ]
    outer = [call for call in heads if not any(call.module.startswith(f"{other.module}.") for other in heads)]
    names = [call.module for call in outer]
    repeated = next((call for call in outer if names.count(call.module) > 1), None)
    whole = [call for call in outer if call.output is not None and call.output.shape == run.output.shape]
    if repeated is not None:
        call = repeated
        message = f"runs {names.count(call.module)} times on copies of the image: test-time augmentation?"
    elif len(whole) > 1:
        call = whole[0]
        members = ", ".join(each.module for each in whole)
        message = f"{len(whole)} networks answer the same image ({members}): an ensemble?"
    else:
        return
    yield finding(
        ONE_INFERENCE,
        "warning",
        call.source,
        f"{message} A human should look",
        "one model, one pass an image",
        module=call.module,
    )
