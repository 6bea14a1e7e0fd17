package keychain

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/globus-keys/globus-keys/internal/storefile"
)

// Items that no record has are deleted by whoever writes next, a minute later at
// least: a reader may still look at them, and a writer who died may have asked
// the keychain for one that is yet to come. One that comes later than that stays
// in the keychain, unnamed.
const (
	litterAge  = 60              // seconds
	sweepItems = 32              // deleted by one Update at most
	sweepTime  = 5 * time.Second // of one Update at most
	maxPending = 256             // generations: with more, no new ones before some are deleted
)

// Sweep deletes all items that no record has had for more than a minute. Every
// Update that writes does it for some of them; Sweep is for tools. What cannot be
// deleted stays listed. A store that does not exist has none.
func (a *Adapter) Sweep(ctx context.Context) error {
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return err
	}
	defer end()
	idx, err := a.load(p)
	if err != nil || len(idx.pending)+len(idx.retired) == 0 {
		return err
	}
	unlock, err := p.LockStore(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if idx, err = a.load(p); err != nil {
		return err
	}
	idx = idx.clone()
	idx.tidy(a.file.Now())
	return a.file.About(a.clear(ctx, p, idx))
}

// clear deletes all that is due, and notes it in idx and in the file. idx is
// written before: nothing is deleted by a list that a power cut could take back.
func (a *Adapter) clear(ctx context.Context, p storefile.Place, idx *index) error {
	due := idx.due(a.file.Now())
	if len(due) == 0 {
		return nil
	}
	if err := a.write(p, idx, false); err != nil {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	swept, err := a.sweep(brief, due, math.MaxInt)
	idx.forget(swept)
	return errors.Join(err, a.write(p, idx, false))
}

// backlog keeps the index from growing with every Update that fails because of
// the keychain: it fails, with what the keychain says, before it is written.
func (a *Adapter) backlog(ctx context.Context, p storefile.Place, base *index, w *writer) error {
	if len(w.made) == 0 || len(base.pending) < maxPending {
		return nil
	}
	return a.file.About(a.clear(ctx, p, base))
}

// sweepSome is what an Update does for its predecessors; base, which is
// written, forgets what is deleted. A failure is left to the next one.
func (a *Adapter) sweepSome(ctx context.Context, base *index, due []litter) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	swept, _ := a.sweep(ctx, due, sweepItems)
	base.forget(swept)
}

// sweep deletes items, at most so many, and returns what the keychain has
// confirmed, and the first error. It does not begin if somebody would be asked
// to unlock the keychain.
func (a *Adapter) sweep(ctx context.Context, due []litter, most int) (swept []litter, failed error) {
	if len(due) == 0 {
		return nil, nil
	}
	if state, err := a.backend.Probe(ctx); state != Ready {
		return nil, err
	}
	for _, l := range due {
		if most -= l.parts; most < 0 {
			break
		}
		if err := a.remove(ctx, l); err != nil {
			return swept, err // the next would wait as long for the same
		}
		swept = append(swept, l)
	}
	return swept, nil
}

func (a *Adapter) remove(ctx context.Context, l litter) error {
	for part := range l.parts {
		account := l.account(l.store, part)
		if err := a.backend.Delete(ctx, account); err != nil {
			return aboutItem(err, a.backend, account)
		}
	}
	return nil
}

// tidy drops from the lists what a record has, whatever the file says, and makes
// the times of a clock that was ahead those of now.
func (idx *index) tidy(now time.Time) {
	live := make(map[string]bool) // the names of generations that records have
	for _, g := range idx.records {
		live[g.name] = true
	}
	for _, list := range []*[]litter{&idx.pending, &idx.retired} {
		*list = slices.DeleteFunc(*list, func(l litter) bool { return l.store == idx.header.StoreID && live[l.name] })
		for i := range *list {
			(*list)[i].at = min((*list)[i].at, max(now.Unix(), 0))
		}
	}
}

// due returns what is old enough to be deleted.
func (idx *index) due(now time.Time) []litter {
	return slices.DeleteFunc(slices.Concat(idx.pending, idx.retired), func(l litter) bool {
		return now.Unix()-l.at <= litterAge
	})
}

func (idx *index) forget(swept []litter) {
	isSwept := func(l litter) bool { return slices.Contains(swept, l) }
	idx.pending = slices.DeleteFunc(idx.pending, isSwept)
	idx.retired = slices.DeleteFunc(idx.retired, isSwept)
}
