package local

import (
	"context"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// respite is how long what held a key stays after a rekey: another process may
// have read the header that names it, and be waiting for a person to give the
// key. A dialog of a keychain lasts two minutes.
const respite = 5 * time.Minute

// tidy removes what held keys before the last rekeys, if it is time. It is
// called after a change of the store, by one who has opened it with the new key.
// It is done by the way, in a few seconds at most and with nobody asked: what
// fails is left to the next process.
func (p *Place) tidy(ctx context.Context) {
	due := p.due()
	if len(due) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(keychain.Silently(ctx), dropTime)
	defer cancel()
	var header keystore.Header
	err := p.adapter.View(ctx, func(r keystore.Reader) error {
		header = r.Header()
		return nil
	})
	if err != nil {
		return
	}
	gone := slices.DeleteFunc(due, func(old seal.Retired) bool {
		slot := keystore.Slot{Kind: old.Kind, Name: old.Name}
		copied := old.Kind == keystore.SlotKeychain && p.elsewhere()
		return copied || slices.Contains(header.Slots, slot) || p.drop(ctx, header.StoreID, slot) != nil
	})
	if len(gone) > 0 {
		p.adapter.Update(ctx, func(w keystore.Writer) error { return strike(w, gone) })
	}
}

// due takes the retired slots whose time has come; each is tried once by a
// process. A time that is yet to come is that of a clock which was ahead, and
// its slot has waited long enough when the process was started.
func (p *Place) due() []seal.Retired {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due, later []seal.Retired
	for _, r := range p.retired {
		if age := p.opts.Clock().Sub(time.Unix(r.At, 0)); age >= respite || age < -respite {
			due = append(due, r)
		} else {
			later = append(later, r)
		}
	}
	p.retired = later
	return due
}

// setRetired takes what the meta record says.
func (p *Place) setRetired(m seal.Meta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired, p.madeAt = m.Retired, m.Home
}

// elsewhere reports whether the store does not lie where its key was made: it may
// be a copy, and the original needs the keychain items that the copy has retired.
func (p *Place) elsewhere() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.madeAt != p.home()
}

// strike takes slots out of the list in the meta record.
func strike(w keystore.Writer, gone []seal.Retired) error {
	payload, err := w.Get(keystore.MetaKey)
	if err != nil {
		return err
	}
	m, err := seal.ParseMeta(payload)
	if err != nil {
		return err
	}
	m.Retired = slices.DeleteFunc(m.Retired, func(r seal.Retired) bool { return slices.Contains(gone, r) })
	if payload, err = seal.FormatMeta(m); err != nil {
		return err
	}
	return w.Put(keystore.MetaKey, payload)
}
