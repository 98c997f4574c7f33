"""The competition's rules as checks: one function a rule, each gives its violations.

`read_target` reads what is to be checked, `check` applies every rule to it.
"""

from wisp.rules.checking import Verdict, check
from wisp.rules.findings import RULES
from wisp.rules.target import Target, read_target

__all__ = ["RULES", "Target", "Verdict", "check", "read_target"]
