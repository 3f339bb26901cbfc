"""The errors a user is meant to see, and nothing else.

Each error builds its own message from the facts at hand, so that every place that raises it says the
same three things: the culprit, what was expected against what came, and what to do about it.
Programming errors stay plain Python exceptions.
"""

from collections.abc import Iterable, Sequence


def shorten(names: Iterable[object], limit: int = 6) -> str:
    """Quote the first ``limit`` names and count the rest, for use inside a message."""
    items = [repr(str(name)) for name in names]
    if not items:
        return "none"
    head = ", ".join(items[:limit])
    return head if len(items) <= limit else f"{head} and {len(items) - limit} more"


class ScmagnifyError(Exception):
    """Base of every error that the user can mend."""


class InputError(ScmagnifyError):
    """A file, column or value that a user supplied is not usable.

    Parameters
    ----------
    culprit
        What is wrong, as the user would name it: a path, a column, a setting.
    found
        What was expected against what came.
    remedy
        What to type or change.
    """

    def __init__(self, culprit: str, found: str, remedy: str) -> None:
        self.culprit, self.found, self.remedy = culprit, found, remedy
        super().__init__(f"{culprit}: {found} {remedy}")


class MissingColumnError(InputError):
    """A named column, layer or key is absent; the message lists what is there."""

    def __init__(self, where: str, name: str, available: Sequence[object], remedy: str) -> None:
        super().__init__(f"{where}['{name}']", f"is missing. Available: {shorten(available)}.", remedy)


class PriorError(InputError):
    """The prior network cannot constrain this data set."""


class ConvergenceError(ScmagnifyError):
    """Numbers became infinite or NaN while fitting."""

    def __init__(self, what: str, when: str, remedy: str) -> None:
        super().__init__(f"{what} is not finite at {when}. {remedy}")


class SchemaError(ScmagnifyError):
    """A table does not have the columns, types or key that ``tables.py`` declares for it."""

    def __init__(self, table: str, problems: Sequence[str]) -> None:
        self.table, self.problems = table, list(problems)
        super().__init__(f"Table '{table}' does not match its schema: " + "; ".join(problems) + ".")


class StorageError(ScmagnifyError):
    """The lakehouse could not be read or written; nothing visible was changed."""
