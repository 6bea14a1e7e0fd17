"""The token storage."""

from __future__ import annotations

import logging
import typing as t
import uuid

import globus_sdk
from globus_sdk.config import get_service_url
from globus_sdk.token_storage import TokenStorage, TokenStorageData

from .helper import TIMEOUT, Helper
from .transport import through_helper

if t.TYPE_CHECKING:
    from globus_sdk.globus_app import GlobusAppConfig

log = logging.getLogger(__name__)


class GlobusKeysStorage(TokenStorage):
    """Keeps logins in the store of the command ``globus-keys``.

    It has handles in place of refresh tokens, which never leave that command. The
    login client of the app asks there for new access tokens: see :meth:`attach`.

    It may be used by several threads and after a fork.

    :param client_id: The client that new logins are of.
    :param namespace: The namespace of the store (default: "DEFAULT").
    :param issuer: URL of Globus Auth (default: the one that the SDK uses).
    :param store: The store, as "file:PATH", "sqlite:PATH" or "keychain:NAME"
        (default: the user's own, or what $GLOBUS_KEYS_STORE names).
    :param program: The command, by its name or path.
    :param timeout: Seconds in which the command has to answer, a person who is asked
        for a passphrase too (None: no limit). After them it is an Unavailable.
    """

    def __init__(
        self,
        client_id: uuid.UUID | str = "",
        *,
        namespace: str = "DEFAULT",
        issuer: str | None = None,
        store: str | None = None,
        program: str = "globus-keys",
        timeout: float | None = TIMEOUT,
    ) -> None:
        self.client_id = str(client_id)
        self._program = program
        self._store = store
        self._timeout = timeout
        self._issue(issuer or get_service_url("auth"))
        super().__init__(namespace=namespace)

    @classmethod
    def for_globus_app(
        cls,
        client_id: uuid.UUID | str,
        app_name: str,
        config: GlobusAppConfig,
        namespace: str,
    ) -> GlobusKeysStorage:
        """The storage of an app. Apps of a user share their logins."""
        issuer = get_service_url("auth", environment=config.environment)
        return cls(client_id, namespace=namespace, issuer=issuer)

    # A GlobusApp gives its storage a decoder, which is made with the app's login
    # client: that is how the storage gets to know the client whose refreshes it does.
    @property
    def id_token_decoder(self) -> globus_sdk.IDTokenDecoder | None:
        return self._id_token_decoder

    @id_token_decoder.setter
    def id_token_decoder(self, decoder: globus_sdk.IDTokenDecoder | None) -> None:
        self._id_token_decoder = decoder
        client = getattr(decoder, "_auth_client", None)
        if isinstance(client, globus_sdk.AuthLoginClient):
            self.attach(client)

    def attach(self, login_client: globus_sdk.AuthLoginClient) -> None:
        """Let a login client renew and revoke the logins of this storage.

        A GlobusApp does this by itself, unless its configuration has an
        ``id_token_decoder`` that was made with another client. New logins are taken
        to be of the issuer that this client talks to.
        """
        issuer = _without_slash(login_client.base_url)
        if issuer != self._issuer:
            self._helper.close()
            self._issue(issuer)
        through_helper(login_client, self)

    def _issue(self, issuer: str) -> None:
        self._issuer = _without_slash(issuer)
        store = ["--store", self._store] if self._store else []
        self._helper = Helper(
            self._program,
            [*store, "credential-helper", "sdk", "--issuer", self._issuer],
            self._timeout,
        )

    def store_token_data_by_resource_server(
        self, token_data_by_resource_server: t.Mapping[str, TokenStorageData]
    ) -> None:
        """Store all of them, durably, or none and raise."""
        records = [
            data.to_dict(include_extra=True)
            for data in token_data_by_resource_server.values()
        ]
        self._ask("put", client_id=self.client_id, records=records)

    def get_token_data_by_resource_server(self) -> dict[str, TokenStorageData]:
        """All logins of the namespace, as they are stored. Nothing is renewed.

        What cannot be read is left out, and logged.
        """
        found: dict[str, TokenStorageData] = {}
        after = ""
        while True:
            answer = self._ask("list", after=after)
            for record in answer.get("records", []):
                found[record["resource_server"]] = _token_data(record)
            for bad in answer.get("unreadable", []):
                log.warning("left out: %s", bad["message"])
            if "more" not in answer:
                return found
            after = answer["more"]

    def get_token_data(self, resource_server: str) -> TokenStorageData | None:
        """One login, with an access token that is good, if that can be had.

        A login that is over has no refresh token: the SDK logs in anew then.
        """
        answer = self._ask("get", resource_server=resource_server)
        return _token_data(answer["record"]) if "record" in answer else None

    def remove_token_data(self, resource_server: str) -> bool:
        """Remove one login here. It is not revoked: a GlobusApp's logout does that."""
        return "changed" in self._ask("remove", resource_server=resource_server)

    def refresh_token_data(self, resource_server: str, handle: str) -> TokenStorageData:
        """One login with another access token than the one that came with the handle."""
        answer = self._ask("refresh", resource_server=resource_server, had=handle)
        return _token_data(answer["record"])

    def revoke_token_data(self, resource_server: str, handle: str = "") -> bool:
        """Revoke both tokens of a login at its issuer, and remove it.

        With a handle only the login that it is of, not that of somebody else.
        """
        answer = self._ask("logout", resource_server=resource_server, had=handle)
        return "changed" in answer

    def iter_namespaces(
        self, *, include_config_namespaces: bool = False
    ) -> t.Iterator[str]:
        """The namespaces that hold logins."""
        answer = self._helper.ask(
            "namespaces", include_config=include_config_namespaces
        )
        yield from answer.get("names", [])

    def store_config(self, name: str, value: t.Any) -> None:
        """Store a value of the program's own, anything that JSON can hold."""
        self._ask("config-put", name=name, value=value)

    def read_config(self, name: str) -> t.Any:
        """The value that was stored under a name, or None."""
        return self._ask("config-get", name=name).get("value")

    def remove_config(self, name: str) -> bool:
        """Remove a value. False if there is none."""
        return "changed" in self._ask("config-remove", name=name)

    def iter_configs(self) -> t.Iterator[str]:
        """The names under which values are stored."""
        yield from self._ask("config-list").get("names", [])

    def close(self) -> None:
        """End the helper. It is started again when it is needed."""
        self._helper.close()

    def __enter__(self) -> GlobusKeysStorage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, op: str, **fields: t.Any) -> dict[str, t.Any]:
        return self._helper.ask(op, namespace=self.namespace, **fields)


def _token_data(record: dict[str, t.Any]) -> TokenStorageData:
    """The SDK wants a scope and an expiry, which other programs may not know."""
    return TokenStorageData.from_dict({"scope": "", "expires_at_seconds": 0, **record})


def _without_slash(url: str) -> str:
    return url.rstrip("/")
