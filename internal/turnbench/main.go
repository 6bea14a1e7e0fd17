// Turnbench measures how processes take turns that read, change and write one record:
//
//	go run ./internal/turnbench [-n 16] [-for 5s]
//
// once through our adapter and once through the driver alone, with immediate
// transactions and its busy wait. It prints how many changes a second there were, how long
// one waited at most, and how many the busiest process made for each of the idlest.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

var (
	processes = flag.Int("n", 16, "processes")
	duration  = flag.Duration("for", 5*time.Second, "how long")
	as        = flag.String("as", "", "be one of the processes: ours or plain")
	dir       = flag.String("dir", "", "the directory of one of the processes")
)

// worker is what one process has done.
type worker struct {
	Changes int
	Errors  int
	Longest time.Duration
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	if *as != "" {
		work()
		return
	}
	fmt.Printf("%-8s %10s %8s %16s %10s %6s\n", "", "changes/s", "errors", "longest wait ms", "max/min", "lost")
	for _, as := range []string{"ours", "plain"} {
		race(as)
	}
}

func race(as string) {
	dir, err := os.MkdirTemp(".", "turnbench-")
	check(err)
	defer os.RemoveAll(dir)
	change := map[string]func(string) func() error{"ours": ours, "plain": plain}[as](dir)
	check(change())
	var all []worker
	outputs := make(chan []byte)
	for range *processes {
		go func() {
			out, err := exec.Command(os.Args[0], "-as", as, "-dir", dir, "-for", duration.String()).Output()
			check(err)
			outputs <- out
		}()
	}
	for range *processes {
		var w worker
		check(json.Unmarshal(<-outputs, &w))
		all = append(all, w)
	}
	report(as, dir, all)
}

func report(as, dir string, all []worker) {
	sum, low, high := worker{}, all[0].Changes, all[0].Changes
	for _, w := range all {
		sum.Changes, sum.Errors = sum.Changes+w.Changes, sum.Errors+w.Errors
		sum.Longest = max(sum.Longest, w.Longest)
		low, high = min(low, w.Changes), max(high, w.Changes)
	}
	lost := 1 + sum.Changes - counted(as, dir)
	fmt.Printf("%-8s %10.0f %8d %16.0f %10.1f %6d\n", as, float64(sum.Changes)/duration.Seconds(), sum.Errors,
		float64(sum.Longest)/float64(time.Millisecond), float64(high)/float64(max(low, 1)), lost)
}

// work is one process. All begin at once, at a whole second.
func work() {
	change := map[string]func(string) func() error{"ours": ours, "plain": plain}[*as](*dir)
	var w worker
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(2 * time.Second)))
	for end := time.Now().Add(*duration); time.Now().Before(end); {
		start := time.Now()
		if change() == nil {
			w.Changes++
		} else {
			w.Errors++
		}
		w.Longest = max(w.Longest, time.Since(start))
	}
	check(json.NewEncoder(os.Stdout).Encode(w))
}

var key = keystore.RecordKey{Namespace: keystore.DefaultNamespace, Kind: keystore.KindConfig, Name: "counter"}

// ours returns a change of the counter in a store of ours.
func ours(dir string) func() error {
	a, err := sqliteadapter.Open(filepath.Join(dir, "ours.db"), unseal(filepath.Join(dir, "key")), nil)
	check(err)
	return func() error {
		return a.Update(context.Background(), func(w keystore.Writer) error {
			n, err := 0, error(nil)
			if w.Header().IsZero() {
				err = found(w)
			} else if n, err = count(w); err != nil {
				return err
			}
			if err != nil {
				return err
			}
			return w.Put(key, fmt.Appendf(nil, "[%d, %q]", n+1, strings.Repeat("x", 1000)))
		})
	}
}

func count(r keystore.Reader) (n int, err error) {
	payload, err := r.Get(key)
	if err != nil {
		return 0, err
	}
	return n, json.Unmarshal(payload, &[]any{&n, nil})
}

func found(w keystore.Writer) error {
	meta, err := seal.FormatMeta(seal.Meta{})
	if err != nil {
		return err
	}
	slot := keystore.Slot{Kind: keystore.SlotPassphrase, Name: "key"}
	if err := w.SetHeader(keystore.Header{StoreID: keystore.StoreID{1}, Slots: []keystore.Slot{slot}}); err != nil {
		return err
	}
	return w.Put(keystore.MetaKey, meta)
}

// unseal reads the identity in the file at path, which the first process makes.
func unseal(path string) keystore.Unseal {
	return func(_ context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
		if meta == nil {
			id, err := identity.New()
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(path, identity.FormatFile(id, h.StoreID), 0o600); err != nil {
				return nil, err
			}
			return seal.New(id, h.StoreID, nil)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		id, _, err := identity.ParseFile(data)
		if err != nil {
			return nil, err
		}
		return seal.Load(id, h.StoreID, meta)
	}
}

// plain returns the same of a database that the driver alone keeps.
func plain(dir string) func() error {
	db, err := sql.Open("sqlite3", filepath.Join(dir, "plain.db")+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_busy_timeout=30000")
	check(err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS records (name TEXT PRIMARY KEY, value TEXT)`)
	check(err)
	return func() error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var value string
		if err := tx.QueryRow(`SELECT value FROM records WHERE name = ?`, key.Name).Scan(&value); err != nil && err != sql.ErrNoRows {
			return err
		}
		number, _, _ := strings.Cut(value, " ")
		n, _ := strconv.Atoi(number)
		value = fmt.Sprint(n+1, " ", strings.Repeat("x", 1000))
		if _, err := tx.Exec(`INSERT OR REPLACE INTO records VALUES (?, ?)`, key.Name, value); err != nil {
			return err
		}
		return tx.Commit()
	}
}

// counted is what the counter says in the end.
func counted(as, dir string) (n int) {
	if as == "plain" {
		db, err := sql.Open("sqlite3", filepath.Join(dir, "plain.db"))
		check(err)
		defer db.Close()
		var value string
		check(db.QueryRow(`SELECT value FROM records`).Scan(&value))
		number, _, _ := strings.Cut(value, " ")
		n, err = strconv.Atoi(number)
		check(err)
		return n
	}
	a, err := sqliteadapter.Open(filepath.Join(dir, "ours.db"), unseal(filepath.Join(dir, "key")), nil)
	check(err)
	defer a.Close()
	check(a.View(context.Background(), func(r keystore.Reader) error {
		n, err = count(r)
		return err
	}))
	return n
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
