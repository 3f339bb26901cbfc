"""Errors on their way from a step to a person: which are final, and what they say in words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from scmagnify_core.errors import ScmagnifyError, StorageError

if TYPE_CHECKING:
    from dagster._utils.error import SerializableErrorInfo

# After 10 and 20 seconds, give or take, so that steps that failed together do not meet again.
RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.LINEAR, jitter=dg.Jitter.PLUS_MINUS)

# Dagster puts the class before the message: it tells ours apart, and the user does not need it.
_OURS = re.compile(r"^scmagnify_core\.errors\.\w+: ")


@contextmanager
def final_user_errors() -> Iterator[None]:
    """Raise an error that only the user can mend as a failure that is not tried again.

    Storage may recover (a full disk, another writer), so its errors keep their retries, as does anything unforeseen.
    """
    try:
        yield
    except StorageError:
        raise
    except ScmagnifyError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def error_in_words(error: "SerializableErrorInfo | None") -> str:
    """The message that was written for the user, if there is one in the chain of causes; the innermost one if not."""
    chain = []
    while error is not None:
        chain.append(error.message.strip())
        error = error.cause
    ours = [_OURS.sub("", message) for message in chain if _OURS.match(message)]
    return (ours or chain[-1:] or ["unknown error"])[0]
