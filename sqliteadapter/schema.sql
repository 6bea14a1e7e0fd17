-- version 1

-- The store: which it is, and where its key lies. Not secret, and not believed: what is
-- found in a slot must open the records.
CREATE TABLE store (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    id      TEXT NOT NULL,                                      -- 32 hexadecimal digits
    slots   TEXT NOT NULL,                                      -- one a line: kind, space, name
    names   TEXT NOT NULL CHECK (names IN ('clear', 'hashed')), -- of the records
    changes INTEGER NOT NULL                                    -- grows with every Update
) STRICT;

-- The records: logins, configuration values, accounts, refreshes under way, and the
-- meta record of the store, whose names are always clear. Hashed names: namespace is
-- empty, name is the tag of both in 64 hexadecimal digits, and label says what they are,
-- sealed.
CREATE TABLE records (
    kind      TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    label     BLOB,
    age       BLOB NOT NULL, -- an age file
    UNIQUE (kind, namespace, name)
) STRICT;
