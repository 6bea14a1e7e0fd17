"""A token storage for the Globus SDK that keeps logins encrypted.

    GlobusAppConfig(token_storage=GlobusKeysStorage, request_refresh_tokens=True)

The store is that of the command ``globus-keys``, which has to be installed.
"""

from .errors import (
    Busy,
    Declined,
    GlobusKeysError,
    Locked,
    LoginRequired,
    OtherAccount,
    Tampered,
    Unavailable,
)
from .storage import GlobusKeysStorage

__all__ = (
    "Busy",
    "Declined",
    "GlobusKeysError",
    "GlobusKeysStorage",
    "Locked",
    "LoginRequired",
    "OtherAccount",
    "Tampered",
    "Unavailable",
)
