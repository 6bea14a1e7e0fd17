"""How a login client of the SDK renews and revokes what it has handles of."""

from __future__ import annotations

import io
import json
import time
import typing as t
import urllib.parse

import globus_sdk
import requests
from globus_sdk.token_storage import TokenStorageData
from requests.adapters import BaseAdapter

if t.TYPE_CHECKING:
    from .storage import GlobusKeysStorage

HANDLE = "globus-keys:"  # and a fingerprint, ":" and the resource server


def through_helper(
    login_client: globus_sdk.AuthLoginClient, storage: GlobusKeysStorage
) -> None:
    """Have the helper do what a client asks of the token endpoint with a handle.

    What it asks with anything else, such as the code of a login, goes on its way, and
    so does a question about a handle, which nobody there knows.
    """
    url = login_client.base_url.rstrip("/") + "/v2/oauth2/token"
    session = login_client.transport.session
    adapter = session.get_adapter(url)
    if isinstance(adapter, _HelperAdapter):
        adapter = adapter.others
    session.mount(url, _HelperAdapter(storage, adapter))


class _HelperAdapter(BaseAdapter):
    """Stands where requests sends what is for the token endpoint, and below it."""

    def __init__(self, storage: GlobusKeysStorage, others: BaseAdapter) -> None:
        super().__init__()
        self.storage = storage
        self.others = others

    def send(
        self, request: requests.PreparedRequest, *args: t.Any, **kwargs: t.Any
    ) -> requests.Response:
        path = urllib.parse.urlsplit(request.url or "").path.rstrip("/")
        if path.endswith("/token") and (handle := _handle(request, "refresh_token")):
            data = self.storage.refresh_token_data(_resource_server(handle), handle)
            return _response(request, _token_response(data))
        if path.endswith("/token/revoke") and (handle := _handle(request, "token")):
            self.storage.revoke_token_data(_resource_server(handle), handle)
            return _response(request, {"active": False})
        return self.others.send(request, *args, **kwargs)

    def close(self) -> None:
        self.others.close()


def _form(request: requests.PreparedRequest) -> dict[str, list[str]]:
    body = request.body or ""
    text = body.decode() if isinstance(body, bytes) else str(body)
    return urllib.parse.parse_qs(text)


def _handle(request: requests.PreparedRequest, field: str) -> str | None:
    value = _form(request).get(field, [""])[0]
    return value if value.startswith(HANDLE) else None


def _resource_server(handle: str) -> str:
    return handle.split(":", 2)[2]


def _token_response(data: TokenStorageData) -> dict[str, t.Any]:
    """A login as a token endpoint would answer it."""
    return {
        "access_token": data.access_token,
        "refresh_token": data.refresh_token,
        "token_type": data.token_type,
        "scope": data.scope,
        "resource_server": data.resource_server,
        "expires_in": data.expires_at_seconds - int(time.time()),
        "other_tokens": [],
    }


def _response(
    request: requests.PreparedRequest, answer: dict[str, t.Any]
) -> requests.Response:
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/json"
    response.raw = io.BytesIO(json.dumps(answer).encode())
    response.request = request
    response.url = request.url or ""
    return response
