package sqliteadapter

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/globus-keys/globus-keys/internal/turn"
	"github.com/globus-keys/globus-keys/keystore"
)

// memory is a database in memory.
type memory struct {
	a      *Adapter
	writer turn.Turn

	mu    sync.Mutex
	db    *database                        // guarded by mu
	locks map[keystore.RecordKey]turn.Turn // guarded by mu; grows with the credentials ever locked
}

func newMemory(a *Adapter) *memory {
	return &memory{a: a, writer: turn.New(), locks: make(map[keystore.RecordKey]turn.Turn)}
}

func (m *memory) database(context.Context) (*database, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db != nil {
		m.db.use()
	}
	return m.db, nil
}

func (m *memory) create(ctx context.Context, fill func(*transaction) error) error {
	db, err := makeMemory(ctx, m.a.opts, fill)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.db = db
	return nil
}

func makeMemory(ctx context.Context, o Options, fill func(*transaction) error) (*database, error) {
	db := &database{DB: sql.OpenDB(connector{"file::memory:", o.prepare}), patience: o.patience}
	db.SetMaxOpenConns(1) // each connection has a database of its own
	db.SetConnMaxLifetime(0)
	if err := db.make(ctx, fill); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func (m *memory) committed(*database, *writer) {}
func (m *memory) failed()                      {}

func (m *memory) lockStore(ctx context.Context) (func() error, error) {
	return m.take(ctx, m.writer)
}

func (m *memory) lockCredential(ctx context.Context, id keystore.StoreID, k keystore.RecordKey) (func() error, error) {
	if id == (keystore.StoreID{}) {
		return nil, &keystore.Error{Op: "lock", Store: Memory, Key: k, Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	m.mu.Lock()
	if _, ok := m.locks[k]; !ok {
		m.locks[k] = turn.New()
	}
	lock := m.locks[k]
	m.mu.Unlock()
	return m.take(ctx, lock)
}

func (m *memory) take(ctx context.Context, lock turn.Turn) (func() error, error) {
	if err := lock.Take(ctx); err != nil {
		return nil, &keystore.Error{Store: Memory, Err: fmt.Errorf("%w (%w)", keystore.ErrBusy, err), Detail: "this process holds the lock"}
	}
	var once sync.Once
	return func() error { once.Do(lock.Give); return nil }, nil
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil {
		return nil
	}
	return m.db.Close()
}
