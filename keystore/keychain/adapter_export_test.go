package keychain

import (
	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// The test keychain imports this package, so that tests with it stand outside,
// and see this much of the inside.

const (
	MaxParts   = maxParts
	MaxText    = maxText
	SweepItems = sweepItems
	MaxPending = maxPending
	MaxIndex   = maxIndex
)

var (
	Encode = encode
	Decode = decode
)

// Reformat reads an index and writes it again.
func Reformat(data []byte) ([]byte, error) {
	idx, err := parseIndex(data)
	if err != nil {
		return nil, err
	}
	return idx.format()
}

// Accounts returns the accounts that an index names: of records, and of others.
func Accounts(data []byte) (live, litter []string, err error) {
	idx, err := parseIndex(data)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range idx.records {
		live = append(live, g.accounts(idx.header.StoreID)...)
	}
	for _, list := range [][]litterEntry{idx.pending, idx.retired} {
		for _, l := range list {
			litter = append(litter, l.accounts(l.store)...)
		}
	}
	return live, litter, nil
}

type litterEntry = litter

func (g generation) accounts(store keystore.StoreID) (all []string) {
	for part := range g.parts {
		all = append(all, g.account(store, part))
	}
	return all
}

// RecordItems returns the accounts and values of the items of a record.
func RecordItems(store keystore.StoreID, k keystore.RecordKey, payload []byte) (accounts []string, values []keystore.Secret, err error) {
	g, r, err := newRecord(store, k, payload)
	return g.accounts(store), r.items, err
}

// FormatRecordItem returns a valid item with any body.
func FormatRecordItem(store keystore.StoreID, body string) string {
	return formatItem(recordKind, store, body).Reveal()
}

// SetFS puts another file system under an adapter.
func SetFS(a *Adapter, fsys atomicfile.FS) { a.file.FS = fsys }
