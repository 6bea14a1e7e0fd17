package agent

import (
	"context"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// Holder returns who has the key that is known as of: the agent.
func (c *Client) Holder(of seal.Public) seal.Holder { return holder{c, of} }

type holder struct {
	*Client
	of seal.Public
}

type looking struct{}

// Look returns a context in which opening a record is no use of its key: a store that
// is only looked at now and then is locked by its idle limit all the same.
func Look(ctx context.Context) context.Context { return context.WithValue(ctx, looking{}, true) }

// WrapKey implements seal.Holder.
func (h holder) WrapKey(ctx context.Context, k keystore.RecordKey, salt seal.Salt) (keystore.Secret, error) {
	r := h.request(opDerive, k)
	r.Salt = salt.String()
	r.Look = ctx.Value(looking{}) != nil
	a, err := h.call(ctx, r)
	if err != nil {
		return keystore.Secret{}, err
	}
	return wrapKey(a.Key)
}

// Fresh implements seal.Holder.
func (h holder) Fresh(ctx context.Context, k keystore.RecordKey, n int) ([]seal.Fresh, error) {
	r := h.request(opNew, k)
	r.Count = n
	a, err := h.call(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(a.Seals) != n {
		return nil, &keystore.Error{Err: keystore.ErrUnavailable, Detail: "the agent has answered something else"}
	}
	fresh := make([]seal.Fresh, n)
	for i, s := range a.Seals {
		if fresh[i].Salt, err = seal.ParseSalt(s.Salt); err != nil {
			return nil, err
		}
		if fresh[i].Key, err = wrapKey(s.Key); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

func (h holder) request(op string, k keystore.RecordKey) request {
	return request{
		Op: op, Store: h.of.Store.String(), KeyID: h.of.ID.String(),
		Namespace: k.Namespace, Kind: string(k.Kind), Name: k.Name,
	}
}

func wrapKey(text string) (keystore.Secret, error) {
	b, err := decodeSecret(text)
	return keystore.NewSecret(string(b)), err
}
