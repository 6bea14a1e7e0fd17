package agent

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/secretmem"
	"github.com/globus-keys/globus-keys/keystore"
)

// How many keys an agent holds, so that an answer that tells of them fits into a line:
// two of a store are in use while it gets another key, and each rekey that was killed
// leaves one.
const (
	maxKeys  = 32 // of all stores
	maxStore = 4  // of one store; the oldest goes
)

// keyName is how a key is asked for.
type keyName struct {
	store keystore.StoreID
	id    seal.KeyID
}

// heldKey is one key.
type heldKey struct {
	slot      int    // of the memory
	age       uint64 // the newer, the more
	recipient string
	place     string
	idle      time.Duration // how long it may be unused; 0: no limit
	ends      deadline      // the time to live
	idleEnds  deadline      // if there is a limit
}

// ring is the keys that are there. Their bytes lie in memory that is neither swapped
// nor dumped, and nowhere else for longer than a request takes.
type ring struct {
	clock Clock

	mu     sync.Mutex
	memory *secretmem.Memory    // guarded by mu
	free   []int                // slots of memory; guarded by mu
	held   map[keyName]*heldKey // guarded by mu
	count  uint64               // of keys that were taken; guarded by mu
	over   int                  // keys that have ended since the last sweep; guarded by mu
	closed bool                 // no more are taken; guarded by mu
}

// errEnding: there is no agent any more, and so no answer.
var errEnding = errors.New("the agent ends")

func newRing(clock Clock) (*ring, error) {
	memory, err := secretmem.New(maxKeys * seal.KeySize)
	if err != nil {
		return nil, err
	}
	r := &ring{clock: clock, memory: memory, held: make(map[keyName]*heldKey)}
	for slot := range maxKeys {
		r.free = append(r.free, slot)
	}
	return r, nil
}

// retire reports whether there was no key, and then takes none any more.
func (r *ring) retire() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	r.closed = r.closed || len(r.held) == 0
	return r.closed
}

// close erases everything, for good.
func (r *ring) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(func(keyName, *heldKey) bool { return true })
	r.closed = true
	return r.memory.Close()
}

// add takes a key, in place of what was there under its name. errEnding if it is too
// late.
func (r *ring) add(name keyName, secret []byte, h heldKey, ttl time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	now := r.clock()
	h.ends, h.idleEnds = now.in(ttl), now.in(h.idle)
	return r.put(name, secret, h)
}

// succeed takes the next key of a store that is unlocked; it ends when the key
// before would have ended. ErrLocked if there is none.
func (r *ring) succeed(name keyName, secret []byte, recipient string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	before := r.newestFirst(func(n keyName) bool { return n.store == name.store && n != name })
	if len(before) == 0 {
		return errLocked()
	}
	next := *r.held[before[0]]
	next.recipient = recipient
	return r.put(name, secret, next)
}

// put is called with mu held.
func (r *ring) put(name keyName, secret []byte, h heldKey) error {
	if r.closed {
		return errEnding
	}
	r.remove(func(n keyName, _ *heldKey) bool { return n == name })
	r.makeRoom(name.store)
	if len(r.free) == 0 {
		return &keystore.Error{Err: ErrFull, Detail: "it holds as many keys as it can: lock a store"}
	}
	h.slot, r.free = r.free[0], r.free[1:]
	r.count++
	h.age = r.count
	copy(r.bytes(h.slot), secret)
	r.held[name] = &h
	return nil
}

func (r *ring) makeRoom(store keystore.StoreID) {
	all := r.newestFirst(func(n keyName) bool { return n.store == store })
	if len(all) == maxStore {
		r.remove(func(n keyName, _ *heldKey) bool { return n == all[maxStore-1] })
	}
}

// newestFirst is called with mu held.
func (r *ring) newestFirst(which func(keyName) bool) (names []keyName) {
	for n := range r.held {
		if which(n) {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b keyName) int { return cmp.Compare(r.held[b].age, r.held[a].age) })
	return names
}

// use calls f with a key, which f must not keep.
func (r *ring) use(name keyName, f func(secret []byte)) error {
	return r.with(name, func(h *heldKey) {
		h.idleEnds = r.clock().in(h.idle)
		f(r.bytes(h.slot))
	})
}

// look is use that does not count as such.
func (r *ring) look(name keyName, f func(secret []byte)) error {
	return r.with(name, func(h *heldKey) { f(r.bytes(h.slot)) })
}

func (r *ring) with(name keyName, f func(*heldKey)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	h := r.held[name]
	if h == nil {
		return errLocked()
	}
	f(h)
	return nil
}

func errLocked() error {
	return &keystore.Error{Err: keystore.ErrLocked, Detail: "this store is locked"}
}

// tell returns what can be told of keys, the newest first. It is no use of them.
func (r *ring) tell(which func(keyName) bool) []keyAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	now := r.clock()
	var keys []keyAnswer
	for _, n := range r.newestFirst(which) {
		keys = append(keys, r.held[n].answer(n, now))
	}
	return keys
}

func (h *heldKey) answer(n keyName, now Instant) keyAnswer {
	a := keyAnswer{
		Store: n.store.String(), KeyID: n.id.String(), Recipient: h.recipient, Place: h.place,
		Left: int64(h.ends.left(now) / time.Second),
	}
	if h.idle > 0 {
		a.Idle, a.IdleLeft = int64(h.idle/time.Second), int64(h.idleEnds.left(now)/time.Second)
	}
	return a
}

// lock erases those keys that it is said to, and says how many.
func (r *ring) lock(which func(keyName) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remove(func(n keyName, _ *heldKey) bool { return which(n) })
}

// sweep erases what is over, and says how many keys have ended since the last time,
// and how many are left.
func (r *ring) sweep() (ended, left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire()
	ended, r.over = r.over, 0
	return ended, len(r.held)
}

// expire is called with mu held, as remove is.
func (r *ring) expire() {
	now := r.clock()
	r.over += r.remove(func(_ keyName, h *heldKey) bool {
		return h.ends.over(now) || h.idle > 0 && h.idleEnds.over(now)
	})
}

func (r *ring) remove(which func(keyName, *heldKey) bool) int {
	n := 0
	for name, h := range r.held {
		if which(name, h) {
			clear(r.bytes(h.slot))
			r.free = append(r.free, h.slot)
			delete(r.held, name)
			n++
		}
	}
	return n
}

func (r *ring) bytes(slot int) []byte {
	return r.memory.Bytes()[slot*seal.KeySize : (slot+1)*seal.KeySize]
}
