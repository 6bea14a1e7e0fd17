package local

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globus-keys/globus-keys/internal/spool"
	"github.com/globus-keys/globus-keys/keystore"
)

// breaking is a place's adapter as a Store uses it, until it breaks.
type breaking struct {
	tended
	broken atomic.Bool
}

func (b *breaking) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	if b.broken.Load() {
		return keystore.ErrReadOnly
	}
	return b.tended.Update(ctx, fn)
}

// TestRekeyKeepsWhatIsSpooled, which is sealed with the key before.
func TestRekeyKeepsWhatIsSpooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newDesktop(t)
		runtime := t.TempDir()
		m.env["XDG_RUNTIME_DIR"], m.env["TMPDIR"], m.env["LOCALAPPDATA"] = runtime, runtime, runtime
		opts := m.with(b)
		p := m.mustPut(opts, "FakeOne")
		if err := p.Store().Put(t.Context(), refreshable("FakeOne")); err != nil {
			t.Fatal(err)
		}
		a := &breaking{tended: tended{p.adapter, p}}
		files := spool.Dir{Getenv: opts.Getenv}
		store := keystore.New(a, &keystore.Options{Spool: files})
		_, err := store.Refresh(t.Context(), "rs", func(keystore.Token) bool { return true },
			func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
				a.broken.Store(true)
				return refreshable("FakeTwo"), nil
			}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.mustGet(opts, "FakeOne")
		if err := p.Rekey(t.Context(), Change{}); err != nil {
			t.Fatal(err)
		}
		m.mustGet(opts, "FakeTwo")
		if keys, err := files.Keys(t.Context(), header(t, p).StoreID); err != nil || len(keys) != 0 {
			t.Errorf("the spool has %v, %v", keys, err)
		}
	})
}

func refreshable(secret string) keystore.TokenResponse {
	r := login(secret)
	r.Tokens[0].RefreshToken = keystore.NewSecret(secret + "Refresh")
	r.Tokens[0].ExpiresAt = time.Unix(4070908799, 0)
	return r
}

// spooling is a machine with a spool, and the options of a passphrase in a file.
func spooling(t *testing.T) (*machine, *Options) {
	m := newMachine(t)
	runtime := t.TempDir()
	m.env["XDG_RUNTIME_DIR"], m.env["TMPDIR"], m.env["LOCALAPPDATA"] = runtime, runtime, runtime
	opts := m.options()
	opts.Key, opts.PassphraseFile = keystore.SlotPassphrase, m.file("first", "a fine passphrase\n")
	if err := m.find(opts).Store().Put(t.Context(), refreshable("FakeOne")); err != nil {
		t.Fatal(err)
	}
	return m, opts
}

func always(keystore.Token) bool { return true }

// spends refreshes with opts, and checks which refresh token is spent.
func (m *machine) spends(opts *Options, want string) {
	m.t.Helper()
	_, err := m.find(opts).Store().Refresh(m.t.Context(), "rs", always,
		func(_ context.Context, old keystore.Token) (keystore.TokenResponse, error) {
			if got := old.RefreshToken.Reveal(); got != want {
				m.t.Errorf("the next process spends %q, want %q", got, want)
			}
			return refreshable("FakeNext"), nil
		}, nil)
	if err != nil {
		m.t.Error(err)
	}
}

// TestRekeyWaitsForARefresh that is announced, whose answer is then stored, spooled,
// or never comes.
func TestRekeyWaitsForARefresh(t *testing.T) {
	for name, c := range map[string]struct {
		broken, fails bool
		spent         string
	}{
		"answer is stored":  {spent: "FakeTwoRefresh"},
		"answer is spooled": {broken: true, spent: "FakeTwoRefresh"},
		"no answer":         {fails: true, spent: "FakeOneRefresh"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, opts := spooling(t)
				second := *opts
				second.PassphraseFile = m.file("second", "a finer passphrase\n")
				done := make(chan error, 1)
				p := m.find(opts)
				a := &breaking{tended: tended{p.adapter, p}}
				store := keystore.New(a, &keystore.Options{Spool: spool.Dir{Getenv: opts.Getenv}})
				_, err := store.Refresh(t.Context(), "rs", always, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
					go func() {
						done <- m.find(opts).Rekey(t.Context(), Change{Passphrase: Replace, NewPassphraseFile: second.PassphraseFile})
					}()
					time.Sleep(5 * time.Second)
					if len(done) > 0 {
						t.Error("the rekey has not waited")
					}
					a.broken.Store(c.broken)
					if c.fails {
						return keystore.TokenResponse{}, keystore.ErrUnavailable
					}
					return refreshable("FakeTwo"), nil
				}, nil)
				if (err != nil) != c.fails {
					t.Errorf("the refresh: %v", err)
				}
				if err := <-done; err != nil {
					t.Errorf("the rekey: %v", err)
				}
				m.spends(&second, c.spent)
			})
		})
	}
}

// TestRekeyEndsItsWaiting, with its caller or after a while, and leaves nothing.
func TestRekeyEndsItsWaiting(t *testing.T) {
	for name, c := range map[string]struct {
		patience time.Duration
		want     error
	}{"after a while": {time.Hour, keystore.ErrBusy}, "with its caller": {3 * time.Second, context.DeadlineExceeded}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, opts := spooling(t)
				stopped := time.Now()
				opts.Clock = func() time.Time { return stopped }
				_, err := m.find(opts).Store().Refresh(t.Context(), "rs", always, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
					return keystore.TokenResponse{}, keystore.ErrUnavailable
				}, nil)
				if !errors.Is(err, keystore.ErrUnavailable) {
					t.Fatal(err)
				}
				before := m.read(m.find(opts))
				ctx, cancel := context.WithTimeout(t.Context(), c.patience)
				defer cancel()
				err = m.find(opts).Rekey(ctx, Change{Passphrase: Replace, NewPassphraseFile: m.file("second", "a finer passphrase\n")})
				if took := time.Since(stopped); !errors.Is(err, c.want) || took > time.Minute {
					t.Errorf("%v after %v, want %v", err, took, c.want)
				}
				if m.read(m.find(opts)) != before {
					t.Error("the store has changed")
				}
				files, err := filepath.Glob(filepath.Join(filepath.Dir(m.find(opts).Path()), "identity-*"))
				if err != nil || len(files) != 1 {
					t.Errorf("left are %q, %v, want the one passphrase file", files, err)
				}
			})
		})
	}
}

// TestRekeyKeepsWhatIsSpooledMeanwhile: while a person thinks of a passphrase.
func TestRekeyKeepsWhatIsSpooledMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, opts := spooling(t)
		p := m.find(opts)
		a := &breaking{tended: tended{p.adapter, p}}
		store := keystore.New(a, &keystore.Options{Spool: spool.Dir{Getenv: opts.Getenv}})
		asking := *opts
		asking.Prompt = func(context.Context, Question) (keystore.Secret, error) {
			_, err := store.Refresh(t.Context(), "rs", always, func(context.Context, keystore.Token) (keystore.TokenResponse, error) {
				a.broken.Store(true)
				return refreshable("FakeTwo"), nil
			}, nil)
			return keystore.NewSecret("a finer passphrase"), err
		}
		if err := m.find(&asking).Rekey(t.Context(), Change{Passphrase: Replace}); err != nil {
			t.Fatal(err)
		}
		second := *opts
		second.PassphraseFile = m.file("second", "a finer passphrase\n")
		m.spends(&second, "FakeTwoRefresh")
	})
}
