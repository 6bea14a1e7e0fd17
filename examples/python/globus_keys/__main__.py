"""python -m globus_keys: which logins a program would find here."""

from .storage import GlobusKeysStorage

storage = GlobusKeysStorage()
for namespace in storage.iter_namespaces():
    storage.namespace = namespace
    for name, data in storage.get_token_data_by_resource_server().items():
        print(f"{namespace}\t{name}\t{data.scope}")
storage.close()
