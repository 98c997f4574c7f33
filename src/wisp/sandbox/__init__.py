"""Running a Python program that nobody vouches for: no network, no home, bounded in everything.

    run_python      (this process)    starts the supervisor, collects the output
      supervisor    (own process)     watches memory, processor time, disk and the clock; ends the whole tree
        bwrap       (where it works)  own network, processes and view of the files
          launcher  (own process)     limits, Landlock, system call filter, unprivileged user; then becomes the program

Where bubblewrap is missing or forbidden, the same launcher runs without it; `confinement()` says what is lost.
"""

from wisp.sandbox.confinement import Confinement, Mode, confinement
from wisp.sandbox.limits import Limit, Limits
from wisp.sandbox.run import Outcome, read_result, run_python

__all__ = ["Confinement", "Limit", "Limits", "Mode", "Outcome", "confinement", "read_result", "run_python"]
