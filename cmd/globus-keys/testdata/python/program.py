"""Programs that use the Globus SDK on a store of globus-keys: program.py NAME ARGUMENT..."""

import logging
import os
import re
import signal
import sys
import threading
import time
import urllib.parse

import globus_sdk
import requests
from globus_sdk.login_flows import CommandLineLoginFlowManager
from globus_sdk.token_storage import TokenStorageData

import globus_keys
from globus_keys import GlobusKeysStorage

CLIENT = "11111111-2222-4333-8444-555555555555"
TRANSFER = "transfer.api.globus.org"
GROUPS = "groups.api.globus.org"


def say(*words):
    print(*words, flush=True)


class Flow(CommandLineLoginFlowManager):
    """A person who logs in with a browser and pastes the code."""

    def print_authorize_url(self, authorize_url):
        say("login")
        self.url = authorize_url

    def prompt_for_code(self):
        page = requests.get(self.url, allow_redirects=False).headers["Location"]
        return urllib.parse.parse_qs(urllib.parse.urlparse(page).query)["code"][0]


CONFIG = dict(
    token_storage=GlobusKeysStorage,
    request_refresh_tokens=True,
    login_flow_manager=Flow,
)


def new_app(**more):
    config = globus_sdk.GlobusAppConfig(**{**CONFIG, **more})
    return globus_sdk.UserApp("test", client_id=CLIENT, config=config)


def groups(client):
    say("groups", *(g["name"] for g in client.get_my_groups()))


def wait_for_end(storage):
    """Until the access token for groups is over, by the clock."""
    while time.time() <= storage.get_token_data_by_resource_server()[GROUPS].expires_at_seconds:
        time.sleep(0.05)


def life():
    """Login, use, expiry in a program that goes on, refresh, logout."""
    with new_app() as app:
        client = globus_sdk.GroupsClient(app=app)
        groups(client)
        say("next")
        sys.stdin.readline()
        wait_for_end(app.token_storage.token_storage)
        groups(client)
        say("login required", app.login_required())
        say("next")
        sys.stdin.readline()
        app.logout()
        say("left", *app.token_storage.token_storage.get_token_data_by_resource_server())


def use():
    """A program that finds a login."""
    with new_app() as app:
        groups(globus_sdk.GroupsClient(app=app))
        for data in app.token_storage.token_storage.get_token_data_by_resource_server().values():
            say("handle", str(data.refresh_token).startswith("globus-keys:"))
        say("refresh tokens", in_memory(rb"fake.refresh.\d{6}"))
        say("access tokens", in_memory(rb"fake.access.\d{6}") > 0)


def in_memory(pattern):
    """How often something stands in the memory of this process. A pattern is not itself."""
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for start, end in re.findall(r"^(\w+)-(\w+) rw", maps.read(), re.MULTILINE):
            try:
                memory.seek(int(start, 16))
                found += len(re.findall(pattern, memory.read(int(end, 16) - int(start, 16))))
            except (OSError, OverflowError, ValueError):
                pass  # a page of the kernel's
    return found


def dead():
    """A program whose login was ended, and goes on."""
    with new_app() as app:
        client = globus_sdk.GroupsClient(app=app)
        groups(client)
        say("next")
        sys.stdin.readline()
        wait_for_end(app.token_storage.token_storage)
        try:
            groups(client)
        except globus_keys.LoginRequired as error:
            say("LoginRequired", error.hint)


def end():
    """Logs out."""
    with new_app(login_flow_manager=None) as app:
        app.add_scope_requirements({GROUPS: globus_sdk.scopes.GroupsScopes.view_my_groups_and_memberships})
        app.logout()


def login_client():
    login = globus_sdk.NativeAppAuthClient(CLIENT)
    storage = GlobusKeysStorage(CLIENT)
    storage.attach(login)
    return login, storage


def ask_about():
    """Asks the issuer about a handle, and does not log out by that."""
    login, storage = login_client()
    handle = storage.get_token_data_by_resource_server()[TRANSFER].refresh_token
    for what in "introspect", "validate":
        try:
            login.post(f"/v2/oauth2/token/{what}", data={"token": handle}, encoding="form")
        except globus_sdk.AuthAPIError:
            pass
    say(*storage.get_token_data_by_resource_server())
    login.oauth2_revoke_token(handle)
    say(*storage.get_token_data_by_resource_server())


def processes(names, work):
    """Each name a process, which all begin when all are ready. It fails if one does."""
    ready, go = os.pipe()
    children = []
    for name in names:
        child = os.fork()
        if child == 0:
            os.close(go)
            code = 1
            try:
                ready_work = work(name)
                os.read(ready, 1)
                ready_work()
                code = 0
            except Exception as error:
                say(name, repr(error))
            os._exit(code)
        children.append(child)
    os.close(go)
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))


def one_refresh():
    """16 processes with one token, which is over: half begin, half have had it."""
    processes(["fresh", "held"] * 8, lambda name: globals()[name]())


def fresh():
    """A process that begins when the token is over."""
    _, storage = login_client()
    return lambda: say(storage.get_token_data(TRANSFER).access_token)


def held():
    """A process that has had the token for long."""
    login, storage = login_client()
    data = storage.get_token_data_by_resource_server()[TRANSFER]
    authorizer = globus_sdk.RefreshTokenAuthorizer(
        data.refresh_token,
        login,
        access_token=data.access_token,
        expires_at=data.expires_at_seconds,
        on_refresh=storage.store_token_response,
    )
    return lambda: say(authorizer.get_authorization_header().replace("Bearer ", ""))


def record(resource_server, n):
    return TokenStorageData(
        resource_server, "fake-person", "fake-scope", f"fake-access-{n}", f"fake-refresh-{n}", 4000000000, "Bearer"
    )


def stores():
    """16 processes of five stores."""
    processes([f"p{i}" for i in range(16)], five)


def five(name):
    storage = GlobusKeysStorage(CLIENT)

    def work():
        for n in range(5):
            rs = f"{name}-{n}.example.org"
            storage.store_token_data_by_resource_server({rs: record(rs, n)})

    return work


def locked():
    GlobusKeysStorage(CLIENT).get_token_data(TRANSFER)


def loop():
    """Stores until it is killed."""
    storage = GlobusKeysStorage(CLIENT)
    n = 0
    while True:
        n += 1
        storage.store_token_data_by_resource_server({TRANSFER: record(TRANSFER, n)})
        say(n)


def read(*names):
    """What is stored at each of the resource servers."""
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
    storage = GlobusKeysStorage(CLIENT)
    say("all", *storage.get_token_data_by_resource_server())
    for name in names:
        try:
            data = storage.get_token_data(name)
            say(name, data and data.access_token)
        except globus_keys.GlobusKeysError as error:
            say(name, type(error).__name__, bool(error.hint))


def renew_login(name):
    storage = GlobusKeysStorage(CLIENT)
    storage.store_token_data_by_resource_server({name: record(name, 1)})
    say(storage.get_token_data(name).access_token)


def interface():
    """Every method, namespaces, threads, forks, and helpers that are killed."""
    storage = GlobusKeysStorage(CLIENT, namespace="n é")
    a, b = record("a", 1), record("b", 2)
    b.refresh_token, b.extra = None, {"unknown": {"x": [1, None, "é"]}}
    assert storage.get_token_data("a") is None
    assert storage.get_token_data_by_resource_server() == {}
    storage.store_token_data_by_resource_server({"a": a, "b": b})
    found = storage.get_token_data_by_resource_server()
    assert list(found) == ["a", "b"]
    assert found["b"].to_dict(include_extra=True) == b.to_dict(include_extra=True)
    storage.store_token_data_by_resource_server(found)
    assert GlobusKeysStorage(CLIENT).get_token_data("a") is None
    assert list(storage.iter_namespaces()) == ["n é"]
    assert storage.read_config("c") is None
    storage.store_config("c", {"x": [1, None]})
    assert storage.read_config("c") == {"x": [1, None]}
    assert list(storage.iter_configs()) == ["c"]
    apps = GlobusKeysStorage.for_globus_app(CLIENT, "test", globus_sdk.GlobusAppConfig(), "m")
    apps.store_config("c", 1)  # and no login
    assert list(storage.iter_namespaces()) == ["n é"]
    assert list(storage.iter_namespaces(include_config_namespaces=True)) == ["m", "n é"]
    assert storage.remove_config("c") and not storage.remove_config("c")
    for identity in None, "fake-person":  # answers that say nothing of the refresh token keep it
        silent = record("a", 1)
        silent.refresh_token, silent.identity_id = None, identity
        storage.store_token_data_by_resource_server({"a": silent})
        kept = storage.get_token_data("a")
        assert kept.refresh_token and kept.identity_id == "fake-person"
    other = GlobusKeysStorage(CLIENT, namespace="another")
    mixed = {"b": record("b", 1), "a": record("a" * 600, 1)}
    for wrong in found, {"a": record("a" * 600, 1)}, mixed:
        try:
            other.store_token_data_by_resource_server(wrong)
            raise AssertionError("what is a handle elsewhere was stored")
        except globus_keys.GlobusKeysError as error:
            assert error.code in ("invalid", "too_large"), error.code
    assert other.get_token_data_by_resource_server() == {}  # all or none
    long = {f"long {n}": record(f"long {n}", n) for n in range(9)}
    for data in long.values():  # together more than one answer holds
        data.extra = {"unknown": "x" * 50_000}
        other.store_token_data_by_resource_server({data.resource_server: data})
    assert list(other.get_token_data_by_resource_server()) == list(long)
    try:
        storage.store_config("c", "x" * (1 << 20))
        raise AssertionError("too long")
    except globus_keys.GlobusKeysError as error:
        assert error.code == "too_large", error.code
    running = storage._helper._process
    for wrong in float("nan"), float("-inf"), "\ud800", {"\udfff": 1}, object():
        try:
            storage.store_config("c", wrong)
            raise AssertionError("what JSON cannot hold was sent")
        except (ValueError, TypeError):
            pass
    assert storage._helper._process is running  # nothing was sent
    with GlobusKeysStorage(CLIENT) as short:
        assert short.get_token_data("a") is None
        assert short._helper._process
    assert short._helper._process is None
    try:
        GlobusKeysStorage(store="paper:x").get_token_data("a")
        raise AssertionError("there is no such kind of store")
    except globus_keys.Unavailable as error:
        assert "exit code 2" in str(error) and "standard error" in str(error), error
    errors = []

    def many(name, access_token):
        for _ in range(20):
            if storage.get_token_data(name).access_token != access_token:
                errors.append("mixed")

    helper = storage._helper._process
    pairs = [("a", "fake-access-1"), ("b", "fake-access-2")] * 2
    threads = [threading.Thread(target=many, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if storage.get_token_data("b").access_token == "fake-access-2" else 1)
    assert os.waitpid(child, 0)[1] == 0
    for thread in threads:
        thread.join()
    assert not errors
    assert storage._helper._process is helper  # no answer was taken for another's
    storage._helper._process._popen.kill()
    assert storage.get_token_data("a").access_token == "fake-access-1"
    storage.close()
    storage.close()
    assert storage.remove_token_data("a") and not storage.remove_token_data("a")
    mute = GlobusKeysStorage(program="useless-browser")
    absent = GlobusKeysStorage(program="no-such-program")
    for nothing in mute, absent:
        try:
            nothing.get_token_data("a")
            raise AssertionError("nobody has answered")
        except globus_keys.Unavailable:
            pass
    say("ok")


def stopped(directory):
    """Helpers that answer nothing and read nothing any more, and one that never does."""
    globus_keys.helper.ENDING = 0
    storage = GlobusKeysStorage(CLIENT)
    calls = (
        lambda: storage.get_token_data("a"),
        lambda: storage.store_config("c", "x" * (1 << 19)),  # more than a pipe takes
    )
    for call in calls:
        storage.read_config("c")
        process = storage._helper._process
        process._timeout = 0.2
        os.kill(process._popen.pid, signal.SIGSTOP)
        unavailable(call)
        say("killed", process._popen.wait() == -signal.SIGKILL, storage._helper._process)
    say(storage.read_config("c"))
    deaf = directory + "/deaf"
    planted_at(deaf, "exec /bin/sleep 600")
    unavailable(lambda: GlobusKeysStorage(program=deaf, timeout=0.1).read_config("c"))


def unavailable(call):
    try:
        call()
        say("answered")
    except globus_keys.Unavailable as error:
        say(error.message)


def planted_at(path, line):
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\n{line}\n")
    os.chmod(path, 0o700)


def planted(directory):
    """A command in the current directory is not run, whatever PATH has of it."""
    os.chdir(directory)
    os.mkdir("sub")
    for path in "globus-keys", "sub/globus-keys":
        planted_at(path, f": >{directory}/run")
    relative = ["", ".", "sub", "./sub"]
    os.environ["PATH"] = os.pathsep.join([*relative, os.environ["PATH"]])
    say(GlobusKeysStorage(CLIENT).read_config("c"), os.path.exists("run"))
    os.environ["PATH"] = os.pathsep.join(relative)
    unavailable(lambda: GlobusKeysStorage(CLIENT).read_config("c"))
    unavailable(lambda: GlobusKeysStorage(CLIENT, program="./globus-keys").read_config("c"))
    say(os.path.exists("run"))  # as it was named


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
