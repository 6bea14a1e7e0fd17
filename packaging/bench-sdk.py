"""What the plain token storages of the Globus SDK take for a get and a put, with so many
records: bench-sdk.py DIRECTORY. It needs globus-sdk. Neither syncs its JSON file; SQLite
is as Python has it, with a rollback journal and synchronous=FULL."""

import pathlib
import statistics
import sys
import time

from globus_sdk.token_storage import JSONTokenStorage, SQLiteTokenStorage, TokenStorageData


def record(server):
    return TokenStorageData(
        resource_server=server,
        identity_id=None,
        scope="openid",
        expires_at_seconds=4070908799,
        access_token="FakeAccess" + 800 * "x",
        refresh_token="FakeRefresh" + 80 * "x",
        token_type="Bearer",
    )


def median_ms(times, call):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def measure(storage, records):
    every = {name: record(name) for name in (f"rs{n}.example" for n in range(records))}
    storage.store_token_data_by_resource_server(every)
    one = {"rs0.example": every["rs0.example"]}
    get = median_ms(20, lambda: storage.get_token_data("rs0.example"))
    put = median_ms(20, lambda: storage.store_token_data_by_resource_server(one))
    print(f"{type(storage).__name__:20} records={records:<5} get {get:8.3f} ms   put {put:8.3f} ms")


for records in (1, 10, 1_000):
    for kind in (SQLiteTokenStorage, JSONTokenStorage):
        measure(kind(pathlib.Path(sys.argv[1]) / f"{kind.__name__}{records}"), records)
