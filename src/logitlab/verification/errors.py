"""What an endpoint did wrong: no answer at all, or one that nobody could read."""

from __future__ import annotations

__all__ = ["EndpointError"]


class EndpointError(Exception):
    """An endpoint that cannot be examined: it is not there, refuses everybody, or talks nonsense.

    A refusal of one request is none of these: it is an answer, and a finding. The message never
    holds a key.

    Examples
    --------
    >>> import logitlab as ll
    >>> ll.verify(lambda body: "Hello")
    Traceback (most recent call last):
    logitlab.verification.errors.EndpointError: The function returns a str, and not its answer: \
json.loads makes it of text.
    """
