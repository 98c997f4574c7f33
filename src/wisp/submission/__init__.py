"""team.zip: one file that holds a result and everything needed to check it.

`write_submission` packs, `verify_submission` checks without running anything, `open_submission` and
`extract_submission` read what was checked.
"""

from wisp.submission.archive import write_submission
from wisp.submission.manifest import Environment, Facts, Macs, Manifest, MemberDigest
from wisp.submission.reading import Submission, extract_submission, open_submission
from wisp.submission.verification import verify_submission

__all__ = [
    "Environment",
    "Facts",
    "Macs",
    "Manifest",
    "MemberDigest",
    "Submission",
    "extract_submission",
    "open_submission",
    "verify_submission",
    "write_submission",
]
