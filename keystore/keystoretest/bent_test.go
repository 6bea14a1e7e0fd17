package keystoretest

import (
	"context"
	"errors"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/memory"
)

// The suite is worth something only if it fails an adapter that breaks its
// word. Each bent adapter breaks one promise, in a process of its own, and the
// check of that promise must be the one to fail.

// bentVariable names the bent adapter that TestBent runs the suite on.
const bentVariable = "GLOBUS_KEYS_KEYSTORETEST_BENT"

// bent is an adapter with one promise broken.
type bent struct {
	name  string
	check string // the check that must fail
	open  Open
	opts  Options
}

func inMemory(name, check string, bend func(keystore.StorageAdapter) keystore.StorageAdapter) bent {
	return bent{name, check, func(string) (keystore.StorageAdapter, error) { return bend(memory.New()), nil }, Options{}}
}

func bentAdapters() []bent {
	return append(bentToys(),
		inMemory("loses updates", "no update of several goroutines is lost", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, losingUpdate(a)}
		}),
		inMemory("applies failed updates", "an Update that fails changes nothing", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) (failed error) {
				err := a.Update(ctx, func(w keystore.Writer) error { failed = fn(w); return nil })
				return errors.Join(failed, err)
			}}
		}),
		inMemory("applies panicking updates", "an Update that panics changes nothing and ends", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) (err error) {
				var panicked any
				defer func() {
					if panicked != nil {
						panic(panicked)
					}
				}()
				return a.Update(ctx, func(w keystore.Writer) error {
					defer func() { panicked = recover() }()
					return fn(w)
				})
			}}
		}),
		inMemory("hides errors of fn", "an Update that fails changes nothing", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) error {
				a.Update(ctx, fn)
				return nil
			}}
		}),
		inMemory("does not obey contexts", "an ended context is obeyed and changes nothing", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) error {
				return a.Update(context.WithoutCancel(ctx), fn)
			}}
		}),
		inMemory("does not say why it gave up", "a writer that waits gives up with its context", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) error {
				err := a.Update(ctx, fn)
				if ctx.Err() != nil {
					return keystore.ErrBusy
				}
				return err
			}}
		}),
		inMemory("lets no View beside an Update", "a View beside an Update under way sees the state before", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return &exclusive{StorageAdapter: a}
		}),
		inMemory("changes snapshots", "a snapshot stays as it was while an Update is made", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return reads(a, func(reader) reader { return reader{get: latest(a)} })
		}),
		inMemory("mixes states", "a reader beside a writer sees whole Updates", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return reads(a, func(r reader) reader {
				return reader{get: func(k keystore.RecordKey) ([]byte, error) {
					if k.Name == "b" {
						return []byte(`0`), nil // as it was at first
					}
					return r.Reader.Get(k)
				}}
			})
		}),
		inMemory("does not read its own writes", "an Update reads its own writes", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer { return writer{get: latest(a)} })
		}),
		inMemory("lists backwards", "keys are sorted and filtered by kind and namespace", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return reads(a, func(r reader) reader {
				return reader{keys: func(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
					keys, _ := collect(r.Reader, kind, namespaces...)
					slices.Reverse(keys)
					return yieldAll(keys)
				}}
			})
		}),
		inMemory("does not filter namespaces", "keys are sorted and filtered by kind and namespace", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return reads(a, func(r reader) reader {
				return reader{keys: func(kind keystore.Kind, _ ...string) iter.Seq2[keystore.RecordKey, error] {
					return r.Reader.Keys(kind)
				}}
			})
		}),
		inMemory("lists what is there by now", "records may be changed while keys are listed", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{keys: func(kind keystore.Kind, _ ...string) iter.Seq2[keystore.RecordKey, error] {
					return func(yield func(keystore.RecordKey, error) bool) {
						for i := 0; ; i++ { // an offset into a list that grows shorter
							keys, _ := collect(w, kind)
							if i >= len(keys) || !yield(keys[i], nil) {
								return
							}
						}
					}
				}}
			})
		}),
		inMemory("forgets case", "odd names are kept apart", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			lower := func(k keystore.RecordKey) keystore.RecordKey { k.Name = strings.ToLower(k.Name); return k }
			return writes(a, func(w keystore.Writer) writer {
				return writer{put: func(k keystore.RecordKey, payload []byte) error { return w.Put(lower(k), payload) }}
			})
		}),
		inMemory("takes any name", "impossible names are refused", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer { return writer{put: ignoring(w.Put, keystore.ErrInvalid)} })
		}),
		inMemory("takes long names", "names up to the limit are taken and longer ones refused", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer { return writer{put: ignoring(w.Put, keystore.ErrTooLarge)} })
		}),
		inMemory("takes large payloads", "payloads up to the limit are taken and larger ones refused", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer { return writer{put: ignoring(w.Put, keystore.ErrTooLarge)} })
		}),
		inMemory("takes less than it says", "payloads up to the limit are taken and larger ones refused", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{put: func(k keystore.RecordKey, payload []byte) error {
					if len(payload) == keystore.MaxPayload {
						return keystore.ErrTooLarge
					}
					return w.Put(k, payload)
				}}
			})
		}),
		inMemory("takes what is not JSON", "a payload that is not one JSON value is refused", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer { return writer{put: ignoring(w.Put, keystore.ErrInvalid)} })
		}),
		inMemory("rewrites JSON", "what is put is got byte for byte", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{put: func(k keystore.RecordKey, payload []byte) error {
					return w.Put(k, slices.DeleteFunc(slices.Clone(payload), func(b byte) bool { return b == ' ' }))
				}}
			})
		}),
		inMemory("loses deep JSON", "a payload that is taken can be read again", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return reads(a, func(r reader) reader {
				return reader{get: func(k keystore.RecordKey) ([]byte, error) {
					payload, err := r.Reader.Get(k)
					if len(payload) > 10_000 {
						return nil, keystore.ErrCorrupt
					}
					return payload, err
				}}
			})
		}),
		inMemory("deletes what is missing", "a missing record is not found", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{del: func(k keystore.RecordKey) error { w.Delete(k); return nil }}
			})
		}),
		inMemory("shares its slices", "slices given and returned are the caller's", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			var shared []byte
			return reads(a, func(r reader) reader {
				return reader{get: func(k keystore.RecordKey) (payload []byte, err error) {
					if shared == nil {
						shared, err = r.Reader.Get(k)
					}
					return shared, err
				}}
			})
		}),
		inMemory("makes records", "a new store holds nothing", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			a.Update(context.Background(), func(w keystore.Writer) error { return w.Put(token("x"), []byte(`1`)) })
			return a
		}),
		inMemory("keeps its header", "a header change is seen by a handle that was open", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{setHeader: func(keystore.Header) error { return nil }}
			})
		}),
		inMemory("takes any header", "impossible headers are refused", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{setHeader: func(h keystore.Header) error {
					w.SetHeader(h)
					return nil
				}}
			})
		}),
		inMemory("forgets old records when rekeyed", "records not rewritten yet open with the key before", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return writes(a, func(w keystore.Writer) writer {
				return writer{setHeader: func(h keystore.Header) error { return errors.Join(w.SetHeader(h), w.Delete(token("gone"))) }}
			})
		}),
		inMemory("does not lock", "LockCredential excludes goroutines", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return locker{slow(a), func(context.Context, keystore.RecordKey) (func() error, error) {
				return func() error { return nil }, nil
			}}
		}),
		inMemory("does not say busy", "LockCredential is busy when the context ends and names the holder", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return locker{a, func(ctx context.Context, k keystore.RecordKey) (func() error, error) {
				unlock, err := a.LockCredential(ctx, k)
				if err != nil {
					err = ctx.Err()
				}
				return unlock, err
			}}
		}),
		inMemory("does not name the holder", "LockCredential is busy when the context ends and names the holder", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return locker{a, func(ctx context.Context, k keystore.RecordKey) (func() error, error) {
				unlock, err := a.LockCredential(ctx, k)
				if err != nil {
					err = errors.Join(keystore.ErrBusy, ctx.Err())
				}
				return unlock, err
			}}
		}),
		inMemory("stops all for a lock", "LockCredential does not stop View and Update", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return &exclusive{StorageAdapter: a, alsoLocks: true}
		}),
		inMemory("frees what is another's", "unlock frees once", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			unlocks := make(map[keystore.RecordKey]func() error)
			return locker{a, func(ctx context.Context, k keystore.RecordKey) (func() error, error) {
				unlock, err := a.LockCredential(ctx, k)
				if err == nil {
					unlocks[k] = unlock
				}
				return func() error { return unlocks[k]() }, err
			}}
		}),
		inMemory("closes under calls", "Close lets calls under way end and later ones fail", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return hasty{a}
		}),
		inMemory("applies half when cancelled", "a context that ends inside an Update leaves it whole or undone", func(a keystore.StorageAdapter) keystore.StorageAdapter {
			return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) error {
				err := a.Update(context.WithoutCancel(ctx), func(w keystore.Writer) error {
					return fn(bentWriter{w, w, writer{del: func(k keystore.RecordKey) error {
						w.Put(k, []byte(`"half"`))
						return nil
					}}})
				})
				return errors.Join(err, ctx.Err())
			}}
		}),
	)
}

// TestBent is run by TestSuiteFailsBentAdapters, in other processes. By itself it
// shows that the suite passes an adapter with nothing bent.
func TestBent(t *testing.T) {
	straight := inMemory("", "", func(a keystore.StorageAdapter) keystore.StorageAdapter { return a })
	all := append(bentAdapters(), straight)
	i := slices.IndexFunc(all, func(b bent) bool { return b.name == os.Getenv(bentVariable) })
	s := newSuite(t, all[i].open, &all[i].opts)
	s.patience = 5 * time.Second // for a lock that is never freed
	s.run(t)
}

func TestSuiteFailsBentAdapters(t *testing.T) {
	for _, b := range bentAdapters() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			name := strings.ReplaceAll(b.check, " ", "_")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+onlyTest("TestBent/"+name))
			cmd.Env = append(os.Environ(), bentVariable+"="+b.name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("the suite ended with %v, want exit code 1; it said:\n%s", err, out)
			}
			if !strings.Contains(string(out), "--- FAIL: TestBent/"+name) || strings.Contains(string(out), "panic: ") {
				t.Errorf("the check %q is not what failed:\n%s", b.check, out)
			}
			if testing.Verbose() {
				t.Logf("%s", out)
			}
		})
	}
}

func TestEveryCheckFailsSomeBentAdapter(t *testing.T) {
	caught := make(map[string]bool)
	for _, b := range bentAdapters() {
		caught[b.check] = true
	}
	for _, c := range script() {
		if !caught[c.name] {
			t.Errorf("no bent adapter shows that the check %q can fail", c.name)
		}
		delete(caught, c.name)
	}
	for name := range caught {
		t.Errorf("there is no check %q", name)
	}
}

// What follows bends an adapter at one method.

type updater struct {
	keystore.StorageAdapter
	update func(context.Context, func(keystore.Writer) error) error
}

func (a updater) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	return a.update(ctx, fn)
}

type viewer struct {
	updater
	view func(context.Context, func(keystore.Reader) error) error
}

func (a viewer) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return a.view(ctx, fn)
}

type locker struct {
	keystore.StorageAdapter
	lock func(context.Context, keystore.RecordKey) (func() error, error)
}

func (a locker) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	return a.lock(ctx, k)
}

// hasty closes at once, whoever is inside.
type hasty struct{ keystore.StorageAdapter }

func (a hasty) Close() error { return nil }

// exclusive lets one caller in at a time and sends the others away.
type exclusive struct {
	keystore.StorageAdapter
	mu        sync.Mutex
	alsoLocks bool
}

func (a *exclusive) enter() (leave func(), err error) {
	if !a.mu.TryLock() {
		return nil, keystore.ErrBusy
	}
	return a.mu.Unlock, nil
}

func (a *exclusive) View(ctx context.Context, fn func(keystore.Reader) error) error {
	leave, err := a.enter()
	if err != nil {
		return err
	}
	defer leave()
	return a.StorageAdapter.View(ctx, fn)
}

func (a *exclusive) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	leave, err := a.enter()
	if err != nil {
		return err
	}
	defer leave()
	return a.StorageAdapter.Update(ctx, fn)
}

func (a *exclusive) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if !a.alsoLocks {
		return a.StorageAdapter.LockCredential(ctx, k)
	}
	leave, err := a.enter()
	return func() error { leave(); return nil }, err
}

// reader and writer replace the methods that are not nil.
type reader struct {
	keystore.Reader
	get  func(keystore.RecordKey) ([]byte, error)
	keys func(keystore.Kind, ...string) iter.Seq2[keystore.RecordKey, error]
}

type writer struct {
	get       func(keystore.RecordKey) ([]byte, error)
	keys      func(keystore.Kind, ...string) iter.Seq2[keystore.RecordKey, error]
	put       func(keystore.RecordKey, []byte) error
	del       func(keystore.RecordKey) error
	setHeader func(keystore.Header) error
}

// reads bends the Reader of View.
func reads(a keystore.StorageAdapter, bend func(reader) reader) keystore.StorageAdapter {
	return viewer{
		updater{a, a.Update},
		func(ctx context.Context, fn func(keystore.Reader) error) error {
			return a.View(ctx, func(r keystore.Reader) error {
				b := bend(reader{Reader: r})
				b.Reader = r
				return fn(b)
			})
		},
	}
}

func writes(a keystore.StorageAdapter, bend func(keystore.Writer) writer) keystore.StorageAdapter {
	return updater{a, func(ctx context.Context, fn func(keystore.Writer) error) error {
		return a.Update(ctx, func(w keystore.Writer) error { return fn(bentWriter{w, w, bend(w)}) })
	}}
}

func (r reader) Get(k keystore.RecordKey) ([]byte, error) {
	if r.get != nil {
		return r.get(k)
	}
	return r.Reader.Get(k)
}

func (r reader) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	if r.keys != nil {
		return r.keys(kind, namespaces...)
	}
	return r.Reader.Keys(kind, namespaces...)
}

type bentWriter struct {
	keystore.Reader
	w keystore.Writer
	b writer
}

func (w bentWriter) Get(k keystore.RecordKey) ([]byte, error) {
	return reader{Reader: w.w, get: w.b.get}.Get(k)
}

func (w bentWriter) Keys(kind keystore.Kind, namespaces ...string) iter.Seq2[keystore.RecordKey, error] {
	return reader{Reader: w.w, keys: w.b.keys}.Keys(kind, namespaces...)
}

func (w bentWriter) Put(k keystore.RecordKey, payload []byte) error {
	if w.b.put != nil {
		return w.b.put(k, payload)
	}
	return w.w.Put(k, payload)
}

func (w bentWriter) Delete(k keystore.RecordKey) error {
	if w.b.del != nil {
		return w.b.del(k)
	}
	return w.w.Delete(k)
}

func (w bentWriter) SetHeader(h keystore.Header) error {
	if w.b.setHeader != nil {
		return w.b.setHeader(h)
	}
	return w.w.SetHeader(h)
}

// losingUpdate reads and writes in two steps.
func losingUpdate(a keystore.StorageAdapter) func(context.Context, func(keystore.Writer) error) error {
	return func(ctx context.Context, fn func(keystore.Writer) error) error {
		var puts []func(keystore.Writer) error
		err := a.View(ctx, func(r keystore.Reader) error {
			return fn(bentWriter{r, notedWriter{r, &puts}, writer{}})
		})
		if err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		return a.Update(ctx, func(w keystore.Writer) error {
			for _, put := range puts {
				if err := put(w); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// slow gives others time between a View and what follows.
func slow(a keystore.StorageAdapter) keystore.StorageAdapter {
	return viewer{updater{a, a.Update}, func(ctx context.Context, fn func(keystore.Reader) error) error {
		defer time.Sleep(time.Millisecond)
		return a.View(ctx, fn)
	}}
}

// notedWriter notes what is put, for later.
type notedWriter struct {
	keystore.Reader
	puts *[]func(keystore.Writer) error
}

func (n notedWriter) Put(k keystore.RecordKey, payload []byte) error {
	*n.puts = append(*n.puts, func(w keystore.Writer) error { return w.Put(k, payload) })
	return nil
}

func (n notedWriter) Delete(keystore.RecordKey) error { return errByTest }
func (n notedWriter) SetHeader(keystore.Header) error { return errByTest }

// latest reads what is stored now, whatever the snapshot.
func latest(a keystore.StorageAdapter) func(keystore.RecordKey) ([]byte, error) {
	return func(k keystore.RecordKey) (payload []byte, err error) {
		viewErr := a.View(context.Background(), func(r keystore.Reader) error {
			payload, err = r.Get(k)
			return nil
		})
		return payload, errors.Join(err, viewErr)
	}
}

// ignoring does nothing where it should fail.
func ignoring(put func(keystore.RecordKey, []byte) error, ignored error) func(keystore.RecordKey, []byte) error {
	return func(k keystore.RecordKey, payload []byte) error {
		if err := put(k, payload); !errors.Is(err, ignored) {
			return err
		}
		return nil
	}
}

func yieldAll(keys []keystore.RecordKey) iter.Seq2[keystore.RecordKey, error] {
	return func(yield func(keystore.RecordKey, error) bool) {
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}
