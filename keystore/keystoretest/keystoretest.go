// Package keystoretest holds every storage adapter to the contract of
// [keystore.StorageAdapter]. An adapter's own test is a page:
//
//	func TestConformance(t *testing.T) {
//		open := func(dir string) (keystore.StorageAdapter, error) {
//			return fileadapter.Open(filepath.Join(dir, "store.json"), unseal, nil)
//		}
//		keystoretest.Run(t, open, &keystoretest.Options{Persistent: true, Processes: true})
//	}
//
// where unseal knows a key for every header that Options.Header makes, in this
// process and in others: it derives the key from the header, or keeps it in
// dir.
//
// The package also has [FailAt], an adapter that fails at its n-th operation,
// for tests of what stands above adapters, and [FindCanary], which looks for a
// secret in every byte below a directory.
package keystoretest

import (
	"os"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// Open opens the one store that lies in dir, or that will lie there: the same
// dir is the same store, also in another process. The adapter keeps nothing
// outside of dir, which exists and is empty at first. Open has no other
// arguments, so that a process started by the suite can call it.
type Open func(dir string) (keystore.StorageAdapter, error)

// Options say what an adapter is able to do. The zero value is for one that
// lives in the memory of one process.
type Options struct {
	// MaxValue is the size in bytes of the largest payload that the adapter
	// takes; 0 means keystore.MaxPayload.
	MaxValue int

	// Persistent: opening again, also while the store is open, finds what
	// was stored. If false, the suite opens every dir once.
	Persistent bool

	// Processes: several processes may open the store at once. The suite
	// then starts the test binary again, up to the call of Run and no
	// further: what the test does before Run must be harmless if repeated.
	Processes bool

	// Header returns the header of the store id whose key is its n-th: the
	// first store has key 0, and each rekey takes the next. nil means one
	// passphrase slot named identity-n.age.
	Header func(id keystore.StoreID, n int) keystore.Header

	// Meta is the payload of the meta record; nil means {}.
	Meta []byte

	// Seals: the adapter is a keystore.SealingAdapter, and its Readers are
	// keystore.SealedReaders. One that is no SealingAdapter needs no saying so.
	Seals bool
}

// Run checks the adapter that open opens, each guarantee in a subtest and a
// store of its own. opts may be nil.
func Run(t *testing.T, open Open, opts *Options) {
	newSuite(t, open, opts).run(t)
}

func (s *suite) run(t *testing.T) {
	if job := os.Getenv(jobVariable); job != "" {
		s.work(job) // this is a process that the suite has started; does not return
	}
	for _, c := range script() {
		t.Run(c.name, func(t *testing.T) { c.check(s.newStore(t)) })
	}
}

type check struct {
	name  string
	check func(*store)
}

// script is what an adapter promises.
func script() []check {
	return []check{
		{"a new store holds nothing", isEmpty},
		{"what is put is got byte for byte", putsAndGets},
		{"a payload that is taken can be read again", readsWhatItTook},
		{"what was stored is there after reopening", isPersistent},
		{"a missing record is not found", missesRecords},
		{"keys are sorted and filtered by kind and namespace", listsKeys},
		{"records may be changed while keys are listed", changesWhileListing},

		{"odd names are kept apart", keepsOddNames},
		{"impossible names are refused", refusesNames},
		{"impossible headers are refused", refusesHeaders},
		{"names up to the limit are taken and longer ones refused", limitsNames},
		{"payloads up to the limit are taken and larger ones refused", limitsPayloads},
		{"a payload that is not one JSON value is refused", refusesNonJSON},
		{"slices given and returned are the caller's", sharesNoSlices},

		{"an Update that fails changes nothing", changesAllOrNone},
		{"an Update that panics changes nothing and ends", survivesPanic},
		{"an Update reads its own writes", readsOwnWrites},
		{"a snapshot stays as it was while an Update is made", keepsSnapshots},
		{"a View beside an Update under way sees the state before", viewsBesideUpdate},
		{"a reader beside a writer sees whole Updates", readsWholeUpdates},
		{"no update of several goroutines is lost", countsGoroutines},

		{"an ended context is obeyed and changes nothing", obeysEndedContext},
		{"a context that ends inside an Update leaves it whole or undone", obeysContextInside},
		{"a writer that waits gives up with its context", writerGivesUp},

		{"LockCredential excludes goroutines", locksGoroutines},
		{"LockCredential is busy when the context ends and names the holder", locksBusy},
		{"LockCredential does not stop View and Update", locksOnlyItself},
		{"unlock frees once", unlocksOnce},

		{"a header change is seen by a handle that was open", changesHeader},
		{"records not rewritten yet open with the key before", rekeysStepByStep},

		{"no update of several processes is lost", countsProcesses},
		{"LockCredential excludes processes", locksProcesses},
		{"LockCredential names the process that holds it and is freed by its death", locksUntilDeath},
		{"a process killed inside an Update leaves nothing", diesInUpdate},
		{"a header change by another process is seen", changesHeaderElsewhere},

		{"Close lets calls under way end and later ones fail", closes},
		{"nothing at rest shows a payload", hidesPayloads},

		{"what its Sealer seals is as good as what it stores", sealsElsewhere},
	}
}
