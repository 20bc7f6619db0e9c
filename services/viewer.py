"""Who is asking, and what they may see and do: every permission is decided here."""

from __future__ import annotations

from dataclasses import dataclass, field

from db.records import EVERYTHING, Actor, Job, Role, Scope
from services.refusals import ErrorCode, Refusal


@dataclass(frozen=True)
class Viewer:
    """A person with a valid token."""

    id: str
    name: str
    role: Role
    expires_at: float | None = field(default=None, compare=False)
    """Until when their token is believed, in seconds since 1970. With another token they are the same."""

    @property
    def is_admin(self) -> bool:
        """Whether they are an admin."""
        return self.role is Role.ADMIN

    @property
    def actor(self) -> Actor:
        """Them, as logs name them."""
        return Actor(id=self.id, display_name=self.name, role=self.role)

    @property
    def scope(self) -> Scope:
        """Whose jobs they may see."""
        return EVERYTHING if self.is_admin else Scope(owner_id=self.id)

    def may_see(self, job: Job) -> bool:
        """Whether the job is theirs to see."""
        return self.is_admin or job.owner.id == self.id


def admins_only(viewer: Viewer, what: str) -> Refusal | None:
    """Refuse a client; asked before anything is looked up, so that the answer tells nothing."""
    if viewer.is_admin:
        return None
    return Refusal(ErrorCode.FORBIDDEN, f"Only an admin may {what}.")
