//go:build unix && !darwin

package keychain

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/globus-keys/globus-keys/internal/secretservice"
	"github.com/globus-keys/globus-keys/keystore"
)

// kwallet are the names on the bus of the KWallet daemons that provide the
// Secret Service.
var kwallet = []string{"org.kde.kwalletd5", "org.kde.kwalletd6", "org.kde.ksecretd", "org.kde.secretservicecompat"}

const gnomeKeyring = "org.gnome.keyring"

const keepassxc = "org.keepassxc.KeePassXC.MainWindow"

func (b *secretService) Create(ctx context.Context, account string, value keystore.Secret) error {
	if err := CheckItem(account, value); err != nil {
		return err
	}
	p := newPatience(ctx, b.limits.silent)
	defer p.end(nil)
	return b.explain(p, b.create(p, account, value))
}

// create tries again what comes before the item is sent, and nothing after: an
// answer that was lost says nothing about the item.
func (b *secretService) create(p *patience, account string, value keystore.Secret) error {
	var service *secretservice.Service
	var draft *secretservice.Draft
	var collection secretservice.Path
	err := b.client.Do(p, func(s *secretservice.Service) (err error) {
		service = s
		s.Prepare(p)
		if collection, err = b.place(p, s); err == nil {
			draft, err = s.Draft(p, newItem(account, value))
		}
		return err
	})
	if err != nil {
		return err
	}
	item, err := b.send(p, service, draft, collection)
	if err != nil {
		return err
	}
	return b.settle(p, service, collection, item, value)
}

func newItem(account string, value keystore.Secret) secretservice.Item {
	return secretservice.Item{
		Label:      fmt.Sprintf("Password for '%s' on '%s'", account, Service), // as go-keyring's
		Attributes: attributes(account),
		Value:      value.Reveal(),
	}
}

// place returns the collection for a new item, unlocked.
func (b *secretService) place(p *patience, s *secretservice.Service) (secretservice.Path, error) {
	collection, err := s.Default(p)
	if err != nil {
		return "", err
	}
	locked, err := s.Locked(p, collection)
	if err == nil && locked {
		err = b.unlock(p, s, []secretservice.Path{collection})
	}
	return collection, err
}

func (b *secretService) send(p *patience, s *secretservice.Service, draft *secretservice.Draft, collection secretservice.Path) (secretservice.Path, error) {
	item, prompt, err := draft.Create(p, collection)
	if err != nil || prompt == "" {
		return item, err
	}
	err = b.ask(p, s, prompt, func(ctx context.Context) (err error) {
		item, err = s.Created(ctx, prompt)
		return err
	})
	return item, err
}

// settle waits until the item is on the disk, where that comes later than the
// answer. KWallet says that all is well some 5 seconds before, and one that is
// killed meanwhile has an empty item at its next start; KeePassXC as many as its key
// derivation takes, and it cannot be told when that is done.
func (b *secretService) settle(p *patience, s *secretservice.Service, collection, item secretservice.Path, value keystore.Secret) error {
	answered := time.Now()
	late, err := s.AlsoOwns(p, kwallet...)
	if err != nil {
		return err
	}
	if late {
		return b.settled(p, s, item, value, func() error { return b.written(p, path.Base(string(collection)), answered) })
	}
	if late, err = s.AlsoOwns(p, keepassxc); err != nil || !late {
		return err
	}
	return b.settled(p, s, item, value, func() error { return b.wait(p, b.limits.saved) })
}

// written waits until KWallet has written its file. It begins to wait anew with
// every item that anybody stores meanwhile, so that the time alone does not tell;
// it does where the file is not where it is by default.
func (b *secretService) written(p *patience, wallet string, answered time.Time) error {
	file := filepath.Join(b.dataDir(), "kwalletd", wallet+".kwl")
	before := modified(file)
	step := max(b.limits.settle/6, 1)
	for waited := step; waited <= 5*b.limits.settle; waited += step {
		if err := b.wait(p, step); err != nil {
			return err
		}
		now := modified(file)
		if now.IsZero() && waited >= b.limits.settle || now.After(answered) || !now.Equal(before) {
			return nil
		}
	}
	return lost("does not write the item to its file")
}

func (b *secretService) dataDir() string {
	if dir := b.opts.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir
	}
	return filepath.Join(b.opts.Getenv("HOME"), ".local", "share")
}

// modified is zero for a file that cannot be looked at.
func modified(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (b *secretService) wait(p *patience, d time.Duration) error {
	select {
	case <-b.limits.after(d):
		return nil
	case <-p.caller.Done():
		return p.caller.Err()
	}
}

// settled looks at the item again after wait, in the same program.
func (b *secretService) settled(p *patience, s *secretservice.Service, item secretservice.Path, value keystore.Secret, wait func() error) error {
	p.pause()
	if err := wait(); err != nil {
		return err
	}
	p.resume()
	same, err := s.Current(p)
	if err != nil {
		return err
	}
	if !same {
		return lost("ended before it had written the item")
	}
	values, err := s.Secrets(p, []secretservice.Path{item})
	if err != nil {
		return err
	}
	if values[0] != value.Reveal() {
		return lost("has lost the item's value")
	}
	return nil
}

func lost(what string) error {
	return &Problem{State: Unreachable, Detail: "Secret Service: the wallet " + what, Advice: "try again"}
}
