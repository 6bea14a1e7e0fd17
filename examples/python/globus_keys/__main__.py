"""python -m globus_keys: which logins a program would find here."""

from __future__ import annotations

import sys

from .errors import GlobusKeysError
from .storage import GlobusKeysStorage


def main() -> int:
    try:
        with GlobusKeysStorage() as storage:
            found = show(storage)
    except GlobusKeysError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    if not found:
        print("no logins", file=sys.stderr)
    return 0


def show(storage: GlobusKeysStorage) -> bool:
    """Print all logins. False if there are none."""
    found = False
    for namespace in storage.iter_namespaces():
        storage.namespace = namespace
        for name, data in storage.get_token_data_by_resource_server().items():
            print(f"{namespace}\t{name}\t{data.scope}")
            found = True
    return found


sys.exit(main())
