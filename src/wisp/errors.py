"""The errors a user can meet, one small hierarchy.

WispError                 exit code 1   something failed although the input was usable
├── TrainingError                       the loss became NaN, a process died
├── DownloadError                       the network gave up after retries
├── ExportError                         the exported file does not agree with the model
├── SandboxError                        a program could not be confined, so it was not run
└── InputError            exit code 2   the input cannot be used; the message says what to do
    ├── DataError                       photos, folders, annotations, caches
    ├── RecipeError                     a field of a recipe or an option
    ├── ModelError                      arch.json, weights, .onnx, run folders
    ├── SubmissionError                 a submission (team.zip) that cannot be read or must not be believed
    └── MissingExtraError               an optional part is not installed

Every message is one line that names the file or the field, and the way out.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """One line that is safe on a terminal: control characters, of files that strangers made, are written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class WispError(Exception):
    """Base of all errors that wisp shows as one line, without a traceback."""

    exit_code = 1


class TrainingError(WispError):
    """Training cannot go on (for instance: the loss is NaN)."""


class DownloadError(WispError):
    """A download failed for good, after its retries."""


class ExportError(WispError):
    """An exported file does not agree with the trained model; nothing was left behind."""


class SandboxError(WispError):
    """A program could not be confined (so it was not started), or left something unusable behind."""


class InputError(WispError):
    """The user's input cannot be used."""

    exit_code = 2


class DataError(InputError):
    """Photos, folders, annotations or caches that cannot be used."""


class RecipeError(InputError):
    """A field of a recipe, or an option, with a value that makes no sense."""


class ModelError(InputError):
    """An architecture, weights, artifact or run folder that cannot be used."""


class SubmissionError(InputError):
    """A submission that cannot be read, or whose contents are not what it says."""


class MissingExtraError(InputError):
    """A feature needs an optional part that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part; install it with: pip install 'wisp[{extra}]'")
        self._arguments = (feature, extra)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Errors cross process borders; the default would call the class with the finished message."""
        return type(self), self._arguments
