package seal

import (
	"context"
	"sync"

	"github.com/globus-keys/globus-keys/keystore"
)

// reserve is how many seals of each record a reservation is good for: as many as an
// agent gives at once. A refresh tries to store its answer less often than that, until
// it spools it. Further ones are asked of the holder.
const reserve = 16

// Reserve returns a context in which the records of these keys can be sealed, 16 times
// each, and opened, as they were sealed or have been opened in it before, whatever
// becomes of who holds the key: when a store is locked the answer of a refresh that is
// under way can still be stored, and nothing else. Errors are those of the holder. A
// Sealer with a key of its own needs no reservation, and returns ctx.
func (s *Sealer) Reserve(ctx context.Context, keys ...keystore.RecordKey) (context.Context, error) {
	if _, own := s.holder.(inHand); own {
		return ctx, nil
	}
	r := &reservation{
		of:    s.public,
		fresh: make(map[keystore.RecordKey][]Fresh),
		known: make(map[sealAt]keystore.Secret),
	}
	for _, k := range keys {
		fresh, err := s.holder.Fresh(ctx, k, reserve)
		if err != nil {
			return nil, keystore.Annotate(err, keystore.Error{Key: k})
		}
		r.fresh[k] = fresh
	}
	return context.WithValue(ctx, reservationKey{}, r), nil
}

// Reserved reports whether ctx is one of Reserve's, for this store. What is done in it
// is finished by a process that holds a lock and has asked for all that it needs: it
// asks nobody.
func Reserved(ctx context.Context, store keystore.StoreID) bool {
	r, ok := ctx.Value(reservationKey{}).(*reservation)
	return ok && r.of.Store == store
}

type reservationKey struct{}

// reservation is what has been reserved of one key. It lives in the context of those
// who may use it, and ends with that.
type reservation struct {
	of Public

	mu    sync.Mutex
	fresh map[keystore.RecordKey][]Fresh // not used yet; guarded by mu
	known map[sealAt]keystore.Secret     // keys of seals that were opened or made; guarded by mu
}

type sealAt struct {
	key  keystore.RecordKey
	salt Salt
}

// reserved returns what ctx has reserved of s's key, nil if nothing.
func (s *Sealer) reserved(ctx context.Context) *reservation {
	r, _ := ctx.Value(reservationKey{}).(*reservation)
	if r == nil || r.of != s.public {
		return nil
	}
	return r
}

// takeFresh returns what the next seal at k is made with.
func (s *Sealer) takeFresh(ctx context.Context, k keystore.RecordKey) (Fresh, error) {
	if r := s.reserved(ctx); r != nil {
		if f, ok := r.take(k); ok {
			return f, nil
		}
	}
	fresh, err := s.holder.Fresh(ctx, k, 1)
	if err != nil {
		return Fresh{}, err
	}
	return fresh[0], nil
}

func (r *reservation) take(k keystore.RecordKey) (Fresh, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.fresh[k]
	if len(left) == 0 {
		return Fresh{}, false
	}
	r.fresh[k] = left[1:]
	r.known[sealAt{k, left[0].Salt}] = left[0].Key // an Update reads what it has written
	return left[0], true
}

// wrapKey returns the key of a seal that is there.
func (s *Sealer) wrapKey(ctx context.Context, k keystore.RecordKey, salt Salt) (keystore.Secret, error) {
	r := s.reserved(ctx)
	if r == nil {
		return s.holder.WrapKey(ctx, k, salt)
	}
	at := sealAt{k, salt}
	r.mu.Lock()
	known, ok := r.known[at]
	r.mu.Unlock()
	if ok {
		return known, nil
	}
	key, err := s.holder.WrapKey(ctx, k, salt)
	if err == nil {
		r.remember(at, key)
	}
	return key, err
}

func (r *reservation) remember(at sealAt, key keystore.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, reserved := r.fresh[at.key]; reserved {
		r.known[at] = key
	}
}
