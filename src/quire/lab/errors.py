"""Mistakes a user can make, each with the exit code that the command line returns."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that one line explains. The command line prints it without a traceback."""

    exit_code = 2


class MissingError(UserError):
    """A dataset or an extra is missing; the message holds the command that gets it."""

    exit_code = 3


class RunError(UserError):
    """A run stopped before its end; its last good checkpoint stands."""

    exit_code = 1


class Diverged(RunError):  # noqa: N818
    """A logged value is not finite: what the run found out, so it is remembered like a result."""


class Interrupted(RunError):  # noqa: N818
    """A run was asked to stop (Ctrl-C, SIGTERM); the same command resumes it."""

    exit_code = 130


LISTED = 40
"""Names that an error lists at most."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that nobody knows, with the nearest one that somebody does.

    Of more than `LISTED` names the ten nearest are shown.

    >>> str(unknown("paper", "resnt", ["resnet", "dqn"]))
    "unknown paper 'resnt': did you mean 'resnet'? Known: dqn, resnet"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    shown = ", ".join(known) or "none"
    if len(known) > LISTED:
        nearest = difflib.get_close_matches(name, known, n=10, cutoff=0.0)
        shown = f"{len(known)}, among them {', '.join(nearest)}"
    return UserError(f"unknown {kind} '{name}':{hint} Known: {shown}")
