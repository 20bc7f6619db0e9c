"""Top-level errors that a client is shown as they are: `extensions.code` says which."""

from __future__ import annotations

from graphql import GraphQLError


class ShownError(GraphQLError):
    """An error whose message is for the client; anything else that is raised is a bug, and masked."""

    code: str

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": self.code})


class UnauthenticatedError(ShownError):
    """Nobody is asking, or their token is broken or expired."""

    code = "UNAUTHENTICATED"


class ForbiddenError(ShownError):
    """The viewer may not ask this."""

    code = "FORBIDDEN"


class NotFoundError(ShownError):
    """There is no such thing for this viewer; nobody can tell whether there is one for somebody else."""

    code = "NOT_FOUND"
