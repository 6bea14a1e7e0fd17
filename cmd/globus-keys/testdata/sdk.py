"""What the tests ask of the real Globus SDK: one JSON request a line, one answer a line.

{"do": "write", "kind": KIND, "path": PATH, "records": [RECORD...], "configs": [CONFIG...]}
{"do": "read", "kind": KIND, "path": PATH, "namespaces": [NAME...]}    answers records and configs
{"do": "refresh", "kind": KIND, "path": PATH, "namespace": NAME, "answer": {...}}

KIND is "globus-sdk-json 1.0", "globus-sdk-json 2.0", "globus-sdk-sqlite 1" or
"globus-sdk-sqlite 2"; RECORD is {"namespace", "name", "data"}, and so is CONFIG. The
answer of a refresh is a token endpoint's.
"""

import json
import sys

import globus_sdk
import requests
from globus_sdk.token_storage import JSONTokenStorage, SQLiteTokenStorage, TokenStorageData
from globus_sdk.token_storage.legacy import SimpleJSONFileAdapter, SQLiteAdapter

ONE = ("globus-sdk-json 1.0", "globus-sdk-sqlite 1")  # records are dicts, and not looked into


class Record(TokenStorageData):
    """A record whose unknown fields are written, as they would be by a later SDK."""

    def to_dict(self, include_extra=False):
        return super().to_dict(include_extra=True)


class Answer:
    """What a v1 adapter looks at in a token response."""

    def __init__(self, by_resource_server):
        self.by_resource_server = by_resource_server


def storage(kind, path, namespace):
    if kind == "globus-sdk-json 1.0":
        return SimpleJSONFileAdapter(path)
    if kind == "globus-sdk-json 2.0":
        return JSONTokenStorage(path, namespace=namespace)
    if kind == "globus-sdk-sqlite 1":
        return SQLiteAdapter(path, namespace=namespace)
    return SQLiteTokenStorage(path, namespace=namespace)


def end(s):
    if hasattr(s, "close"):
        s.close()


def write(q):
    for r in q["records"]:
        s = storage(q["kind"], q["path"], r["namespace"])
        if q["kind"] in ONE:
            s.store(Answer({r["name"]: r["data"]}))
        else:
            s.store_token_data_by_resource_server({r["name"]: Record.from_dict(r["data"])})
        end(s)
    for c in q["configs"]:
        s = storage(q["kind"], q["path"], c["namespace"])
        s.store_config(c["name"], c["data"])
        end(s)
    return {}


def read(q):
    records, configs = [], []
    for namespace in q["namespaces"]:
        s = storage(q["kind"], q["path"], namespace)
        if q["kind"] in ONE:
            found = s.get_by_resource_server()
        else:
            found = {n: d.to_dict(include_extra=True) for n, d in s.get_token_data_by_resource_server().items()}
        records += [{"namespace": namespace, "name": n, "data": d} for n, d in found.items()]
        if q["kind"] == "globus-sdk-sqlite 1":
            names = s._connection.execute("SELECT config_name FROM config_storage WHERE namespace=?", (namespace,))
            configs += [{"namespace": namespace, "name": n, "data": s.read_config(n)} for (n,) in names.fetchall()]
            assert namespace in s.iter_namespaces(include_config_namespaces=True)
        elif "sqlite" in q["kind"]:
            assert namespace in s.iter_namespaces()
        end(s)
    return {"records": records, "configs": configs, "version": globus_sdk.__version__}


def refresh(q):
    http = requests.Response()
    http.status_code = 200
    http.headers["Content-Type"] = "application/json"
    http._content = json.dumps(q["answer"]).encode()
    answer = globus_sdk.OAuthTokenResponse(globus_sdk.GlobusHTTPResponse(http, client=globus_sdk.AuthClient()))
    s = storage(q["kind"], q["path"], q["namespace"])
    if q["kind"] in ONE:
        s.on_refresh(answer)
    else:
        s.store_token_response(answer)
    end(s)
    return {}


for line in sys.stdin:
    request = json.loads(line)
    try:
        done = {"write": write, "read": read, "refresh": refresh}[request["do"]](request)
    except Exception as e:
        done = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(done), flush=True)
