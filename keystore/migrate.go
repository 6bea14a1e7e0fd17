package keystore

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// MigrateOptions of Migrate. The zero value is good.
type MigrateOptions struct {
	// DeleteSource removes each record from the source as soon as it has been read
	// back from the target; the account of a namespace when its last token is gone.
	DeleteSource bool

	// DryRun writes nothing anywhere, and tells what would be done.
	DryRun bool
}

// Outcomes of Migrate, which has Replaced, Completed, Unchanged and Kept as well.
const (
	Copied     Outcome = "copied"     // there was none
	Superseded Outcome = "superseded" // the target holds a later state of the same login
	Failed     Outcome = "failed"     // the error that comes with it says why
)

// Migrated tells of one record.
type Migrated struct {
	Key     RecordKey
	Outcome Outcome
	Reason  string // of Kept

	// Shared: both stores hold its refresh token, of which only one can be good for
	// long where the issuer rotates them.
	Shared bool
}

// TargetError is an error of the store that Migrate writes to.
type TargetError struct{ error }

// Unwrap returns the error.
func (e TargetError) Unwrap() error { return e.error }

// Migrate copies the accounts, configuration values and tokens of all namespaces from
// one store to another, byte for byte, and yields each when it has been read back from
// there. Refreshes under way are not carried over: their answers are waited for.
//
// A token is read while its credential is locked at the source, so that none is spent
// meanwhile; what a refresh has left in the spool is stored first. With DeleteSource
// it is locked until it has been removed: at every instant it is in the source, in the
// target, or in both, and who would refresh it finds it where it is used, or none.
//
// What the target holds already, the same, is Unchanged: a migration that was killed
// is finished by the same one again. Of two states of one login the later one is the
// target's then (Replaced, Superseded). What else differs is Kept as it is in the
// target, with a reason, and stays in the source. An account is completed.
//
// An error with a key is about this record alone, which stays in the source, and the
// others follow. A zero key comes with an error that ends the sequence: ErrInvalid if
// both are one store, or one is a copy of the other; ErrNotFound if there is no source;
// ErrSubjectMismatch, before anything is written, if a namespace belongs to another
// account at the target; ErrTampered, at the end, if the source has records that it
// cannot list; what the stores say. Those of the target are TargetErrors.
// That the target can be written is tried out before anything else is done there.
//
// No lock is held while the loop body runs.
func Migrate(ctx context.Context, from, to *Store, opts *MigrateOptions) iter.Seq2[Migrated, error] {
	return func(yield func(Migrated, error) bool) {
		m := migration{from: from, to: to, yield: yield}
		if opts != nil {
			m.MigrateOptions = *opts
		}
		if err := m.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(Migrated{}, migrating(err))
		}
	}
}

// errEnough: who listens does not want to hear more.
var errEnough = errors.New("enough")

// migrateBatch is how many records are written by one Update at most: a store in one
// file writes all of it for each. It bounds what is in memory: 6 MiB of payload.
const migrateBatch = 100

// migration is one call of Migrate.
type migration struct {
	MigrateOptions
	from, to *Store
	yield    func(Migrated, error) bool

	of struct { // the namespace whose account was read last
		namespace string
		account   Account
	}
}

func (m *migration) run(ctx context.Context) error {
	if err := m.prepare(ctx); err != nil {
		return err
	}
	for _, kind := range migratedKinds {
		if err := m.all(ctx, kind); err != nil {
			return err
		}
	}
	if m.DeleteSource && !m.DryRun {
		if err := m.closeAccounts(ctx); err != nil {
			return err
		}
	}
	return m.from.adapter.View(ctx, allListed)
}

// migratedKinds are in order: an account guards the tokens that follow.
var migratedKinds = []Kind{KindAccount, KindConfig, KindToken}

// prepare finds out what stands against it before anything is written.
func (m *migration) prepare(ctx context.Context) error {
	if err := m.distinct(ctx); err != nil {
		return err
	}
	if err := m.refuse(ctx); err != nil || m.DryRun {
		return err
	}
	if err := m.from.Recover(ctx); err != nil { // who has no key makes no target
		return err
	}
	return atTarget(m.to.Probe(ctx))
}

func (m *migration) distinct(ctx context.Context) error {
	from, err := m.from.header(ctx)
	if err != nil {
		return err
	}
	to, err := m.to.header(ctx)
	switch {
	case err != nil:
		return atTarget(err)
	case from.IsZero():
		return &Error{Err: ErrNotFound, Detail: "there is no store yet to migrate from"}
	case from.StoreID == to.StoreID:
		return &Error{Err: ErrInvalid, Detail: "source and target are one store, or one is a copy of the other"}
	}
	return nil
}

// all does what is to be done for every record of one kind. A token that is to leave
// the source comes alone, since it stays locked throughout.
func (m *migration) all(ctx context.Context, kind Kind) error {
	batch := migrateBatch
	if kind == KindToken && m.DeleteSource {
		batch = 1
	}
	for keys, err := range m.from.batches(ctx, kind, batch) {
		if err != nil {
			return err
		}
		done, err := m.some(ctx, keys)
		if err := m.tell(done); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) tell(done []verdict) error {
	for _, v := range done {
		if !m.yield(v.Migrated, v.err) {
			return errEnough
		}
	}
	return nil
}

// some migrates the records of keys, and says what has become of them. An error is
// about more than one of them.
func (m *migration) some(ctx context.Context, keys []RecordKey) (done []verdict, err error) {
	var records []stored
	for _, key := range keys {
		var ended error
		err := m.held(ctx, key, func() error {
			r, err := m.read(ctx, key)
			switch {
			case err != nil:
				return err
			case key.Kind == KindToken && m.DeleteSource:
				done, ended = m.carry(ctx, []stored{r}, true)
			default:
				records = append(records, r)
			}
			return nil
		})
		switch {
		case ended != nil:
			return done, ended
		case err != nil && ctx.Err() != nil: // it may say that somebody was waited for
			return done, Ended(ctx)
		case errors.Is(err, ErrNotFound): // it was removed meanwhile
		case unreadable(err) || errors.Is(err, ErrBusy):
			done = append(done, failed(key, err))
		case err != nil:
			return done, err
		}
	}
	more, err := m.carry(ctx, records, m.DeleteSource && len(keys) > 0 && keys[0].Kind == KindConfig)
	return append(done, more...), err
}

// held runs fn while nobody refreshes the token of key, and none waits in the spool.
// Other records are not locked, and a dry run locks nothing: that leaves a file.
func (m *migration) held(ctx context.Context, key RecordKey, fn func() error) error {
	if key.Kind != KindToken || m.DryRun {
		return fn()
	}
	unlock, err := m.from.hold(ctx, key)
	if err != nil {
		return err
	}
	defer m.from.underWay.end()
	if _, err = m.from.In(key.Namespace).adopt(ctx, key); err == nil {
		err = fn()
	}
	if unlockErr := unlock(); err == nil {
		err = unlockErr
	}
	return err
}

// carry writes records, reads them back and, if they are to leave the source, removes
// them there.
func (m *migration) carry(ctx context.Context, records []stored, leave bool) ([]verdict, error) {
	done, err := m.write(ctx, records)
	if err != nil || m.DryRun {
		return done, atTarget(err)
	}
	if done, err = m.verify(ctx, records, done); err != nil {
		return nil, atTarget(err)
	}
	if leave {
		return m.remove(ctx, records, done)
	}
	return done, nil
}

// write writes records by one Update. If the target does not take them together, each
// is tried alone: one that is too large for it must not keep the others back.
func (m *migration) write(ctx context.Context, records []stored) ([]verdict, error) {
	if len(records) == 0 {
		return nil, nil
	}
	if m.DryRun {
		return m.judgeAll(ctx, records)
	}
	done, err := m.writeTogether(ctx, records)
	switch {
	case err == nil || !errors.Is(err, ErrTooLarge):
		return done, err
	case len(records) == 1:
		return []verdict{failedThere(records[0].key, err)}, nil
	}
	done = nil
	for _, r := range records {
		v, err := m.write(ctx, []stored{r})
		if err != nil {
			return nil, err
		}
		done = append(done, v...)
	}
	return done, nil
}

func (m *migration) writeTogether(ctx context.Context, records []stored) (done []verdict, err error) {
	err = m.to.update(ctx, "", func(w Writer, _ func(error)) error {
		done = done[:0]
		for _, r := range records {
			v, err := m.judge(w, r)
			if err == nil && v.payload != nil {
				err = w.Put(r.key, v.payload)
			}
			if err != nil {
				return annotate(err, "", r.key)
			}
			done = append(done, v)
		}
		return nil
	})
	return done, err
}

// judgeAll is what would be done now.
func (m *migration) judgeAll(ctx context.Context, records []stored) (done []verdict, err error) {
	err = m.to.adapter.View(ctx, func(r Reader) error {
		done = done[:0]
		for _, rec := range records {
			v, err := m.judge(r, rec)
			if err != nil {
				return err
			}
			done = append(done, v)
		}
		return nil
	})
	return done, err
}

// verify reads back what was written: nothing must be left to do. A login that somebody
// has stored in the target meanwhile is judged as it is now.
func (m *migration) verify(ctx context.Context, records []stored, done []verdict) ([]verdict, error) {
	again, err := m.judgeAll(ctx, records)
	if err != nil {
		return nil, err
	}
	for i, v := range again {
		switch {
		case !done[i].arrived(): // nothing was written
		case v.payload != nil:
			return nil, &Error{Key: v.Key, Err: ErrCorrupt, Detail: "it does not read back as it was written"}
		case !v.arrived():
			done[i] = v
		}
	}
	return done, nil
}

// remove removes from the source what has arrived, if it is still what was carried over.
func (m *migration) remove(ctx context.Context, records []stored, before []verdict) (done []verdict, err error) {
	err = m.from.adapter.Update(ctx, func(w Writer) error {
		done = slices.Clone(before)
		for i, r := range records {
			if !done[i].arrived() {
				continue
			}
			left, err := r.leave(w)
			if err != nil {
				return annotate(err, "", r.key)
			}
			if !left {
				done[i].Outcome, done[i].Reason = Kept, "it was changed at the source meanwhile"
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// closeAccounts removes the accounts of namespaces whose tokens have all left. What
// there is to say of them was said when they were copied.
func (m *migration) closeAccounts(ctx context.Context) error {
	for keys, err := range m.from.batches(ctx, KindAccount, migrateBatch) {
		if err != nil {
			return err
		}
		var records []stored
		for _, key := range keys {
			r, err := m.read(ctx, key)
			switch {
			case err == nil:
				records = append(records, r)
			case !unreadable(err) && !errors.Is(err, ErrNotFound):
				return err
			}
		}
		if _, err := m.carry(ctx, records, true); err != nil {
			return err
		}
	}
	return nil
}

// atTarget marks an error as the target's.
func atTarget(err error) error {
	if err == nil {
		return nil
	}
	return TargetError{migrating(err)}
}

// migrating says what was being done, if err does not.
func migrating(err error) error {
	if _, ofTarget := err.(TargetError); ofTarget {
		return err
	}
	return annotate(err, "migrate", RecordKey{})
}
