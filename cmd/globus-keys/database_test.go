package main

import (
	"database/sql"
	"fmt"
	"os"

	_ "github.com/mattn/go-sqlite3" // what the scripts change databases with
	"github.com/rogpeppe/go-internal/testscript"
)

// sql FILE STATEMENT changes a database, as nobody but its store should.
func changeDatabase(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}

// hold FILE has a database open until the script ends, as another program that reads it.
func holdDatabase(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { db.Close() })
	var n int
	ts.Check(db.QueryRow("SELECT count(*) FROM records").Scan(&n))
}

// spoil KIND NAME damages a record of $STORE, of either kind.
func spoil(ts *testscript.TestScript, neg bool, args []string) {
	store := ts.Getenv("STORE")
	if ts.Getenv("KIND") == "file" {
		place := fmt.Sprintf(`"kind":"%s","name":"%s","age":"YW`, args[0], args[1])
		edit(ts, neg, []string{store, place + "dl", place + "dm"})
		return
	}
	changeDatabase(ts, neg, []string{store, fmt.Sprintf("UPDATE records SET age = x'6167' WHERE kind = '%s' AND name = '%s'", args[0], args[1])})
}

// damage FILE overwrites all pages of a database but the first.
func damageDatabase(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	data := []byte(ts.ReadFile(path))
	for i := 4096; i < len(data); i++ {
		data[i] = 0xaa
	}
	ts.Check(os.WriteFile(path, data, 0o600))
}
