package agent

import (
	"os"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/keystore"
)

func (s *Server) handle(r request) (answer, error) {
	switch r.Op {
	case opKeys:
		return s.keysOf(r)
	case opDerive:
		return s.derive(r)
	case opNew:
		return s.fresh(r)
	case opUnlock:
		return answer{}, s.unlock(r)
	case opLock:
		return s.lock(r)
	case opStatus:
		return answer{PID: os.Getpid(), Keys: s.status()}, nil
	case opStop:
		return answer{}, nil // and then it stops
	}
	return answer{}, invalid("there is no such operation")
}

// known is the operation, for the log, if it is one: a request may say anything.
func known(op string) string {
	switch op {
	case opKeys, opDerive, opNew, opUnlock, opLock, opStatus, opStop:
		return op
	}
	return "unknown"
}

func (s *Server) keysOf(r request) (answer, error) {
	store, err := r.store()
	if err != nil {
		return answer{}, err
	}
	return answer{Keys: s.keys.tell(func(n keyName) bool { return n.store == store })}, nil
}

// status leaves the recipients out, which are long: nobody encrypts by it.
func (s *Server) status() []keyAnswer {
	keys := s.keys.tell(all)
	for i := range keys {
		keys[i].Recipient = ""
	}
	return keys
}

func all(keyName) bool { return true }

func (s *Server) derive(r request) (a answer, err error) {
	name, k, err := r.target()
	if err != nil {
		return a, err
	}
	salt, err := seal.ParseSalt(r.Salt)
	if err != nil {
		return a, err
	}
	defer s.used.Store(true) // at the end, or a sweep meanwhile would forget what is left then
	use := s.keys.use
	if r.Look {
		use = s.keys.look
	}
	err = use(name, func(secret []byte) {
		a.Key = encodeSecret(seal.WrapKey(secret, name.store, k, salt))
	})
	return a, err
}

func (s *Server) fresh(r request) (a answer, err error) {
	name, k, err := r.target()
	if err != nil {
		return a, err
	}
	if r.Count < 1 || r.Count > maxFresh {
		return a, invalid("1 to %d new seals can be asked for", maxFresh)
	}
	defer s.used.Store(true)
	err = s.keys.use(name, func(secret []byte) {
		for range r.Count {
			salt := seal.NewSalt()
			a.Seals = append(a.Seals, freshAnswer{salt.String(), encodeSecret(seal.WrapKey(secret, name.store, k, salt))})
		}
	})
	return a, err
}

// target is the key and the record that a request names.
func (r request) target() (keyName, keystore.RecordKey, error) {
	name, err := r.of()
	if err != nil {
		return name, keystore.RecordKey{}, err
	}
	k := keystore.RecordKey{Namespace: r.Namespace, Kind: keystore.Kind(r.Kind), Name: r.Name}
	return name, k, k.Check()
}

// of is the key that a request names.
func (r request) of() (keyName, error) {
	store, err := r.store()
	if err != nil {
		return keyName{}, err
	}
	id, err := seal.ParseKeyID(r.KeyID)
	return keyName{store, id}, err
}

// store is the store that a request names.
func (r request) store() (keystore.StoreID, error) {
	store, err := keystore.ParseStoreID(r.Store)
	if err != nil {
		err = invalid("the store is not named by its id")
	}
	return store, err
}

func (s *Server) unlock(r request) error {
	name, err := r.of()
	if err != nil {
		return err
	}
	secret, err := decodeSecret(r.Key)
	if err != nil {
		return err
	}
	defer clear(secret)
	if _, err := seal.ParseRecovery(r.Recipient); err != nil {
		return invalid("the recipient is no native age recipient")
	}
	if r.Successor {
		return s.keys.succeed(name, secret, r.Recipient)
	}
	ttl, idle := time.Duration(r.TTL)*time.Second, time.Duration(r.Idle)*time.Second
	switch {
	case r.TTL < 1 || r.TTL > int64(MaxTTL/time.Second):
		return invalid("the time to live is 1 second to %d days", MaxTTL/(24*time.Hour))
	case r.Idle < 0 || r.Idle > int64(MaxTTL/time.Second):
		return invalid("the idle limit is 0 seconds, which is none, to %d days", MaxTTL/(24*time.Hour))
	case r.Place != placeFor(r.Place):
		return invalid("the place has more than %d bytes, or some that cannot be printed", maxPlace)
	}
	return s.keys.add(name, secret, heldKey{recipient: r.Recipient, place: r.Place, idle: idle}, ttl)
}

func (s *Server) lock(r request) (answer, error) {
	which := all
	if r.Store != "" {
		store, err := r.store()
		if err != nil {
			return answer{}, err
		}
		which = func(n keyName) bool { return n.store == store }
	}
	if r.KeyID != "" {
		name, err := r.of()
		if err != nil {
			return answer{}, err
		}
		which = func(n keyName) bool { return n == name }
	}
	n := s.keys.lock(which)
	erase.Now()
	return answer{Changed: n}, nil
}
