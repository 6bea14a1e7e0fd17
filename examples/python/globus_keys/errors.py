"""What can go wrong. Each error says what happened, and most what to do."""

from __future__ import annotations

import typing as t

import globus_sdk
from globus_sdk.token_storage import TokenValidationError


class GlobusKeysError(globus_sdk.GlobusError):
    """The store did not do what it was asked.

    :ivar code: The error's name in docs/helper-protocol.md.
    :ivar hint: What to do about it, often a command; empty if nothing is known.
    """

    def __init__(self, message: str, hint: str = "", code: str = "failed") -> None:
        super().__init__(message, hint, code)
        self.message = message
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class Locked(GlobusKeysError):
    """Nobody gave the passphrase, or the keychain is locked."""


class Declined(GlobusKeysError):
    """Somebody was asked for the key, and said no."""


class Busy(GlobusKeysError):
    """Another process has held the login for too long."""


class Unavailable(GlobusKeysError):
    """The command, a keychain, a disk or the issuer cannot be reached."""


class Tampered(GlobusKeysError):
    """A record is damaged, or is not what was stored there."""


class OtherAccount(GlobusKeysError):
    """The namespace holds logins of another identity or issuer."""


class LoginRequired(GlobusKeysError, TokenValidationError):
    """The login is over, and only a new one helps."""


_CLASSES: dict[str, type[GlobusKeysError]] = {
    "locked": Locked,
    "declined": Declined,
    "busy": Busy,
    "unavailable": Unavailable,
    "read_only": Unavailable,
    "tampered": Tampered,
    "damaged": Tampered,
    "other_account": OtherAccount,
    "login_required": LoginRequired,
}


def from_answer(error: t.Mapping[str, str]) -> GlobusKeysError:
    """The exception for an error of the helper."""
    code = error["code"]
    kind = _CLASSES.get(code, GlobusKeysError)
    return kind(error["message"], error.get("hint", ""), code)
