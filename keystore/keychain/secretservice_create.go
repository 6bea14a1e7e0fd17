//go:build unix && !darwin

package keychain

import (
	"context"
	"fmt"

	"github.com/globus-keys/globus-keys/internal/secretservice"
	"github.com/globus-keys/globus-keys/keystore"
)

// kwallet are the names on the bus of the KWallet daemons that provide the
// Secret Service.
var kwallet = []string{"org.kde.kwalletd5", "org.kde.kwalletd6", "org.kde.secretservicecompat"}

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
	return b.settle(p, service, item, value)
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

// settle waits until KWallet has written the item: it says that all is well some
// 5 seconds before, and one that is killed meanwhile has an empty item at its
// next start. Others write first.
func (b *secretService) settle(p *patience, s *secretservice.Service, item secretservice.Path, value keystore.Secret) error {
	late, err := s.AlsoOwns(p, kwallet...)
	if err != nil || !late {
		return err
	}
	p.pause()
	select {
	case <-b.limits.after(b.limits.settle):
	case <-p.caller.Done():
		return p.caller.Err()
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
	return &Problem{State: Unreachable, Detail: "Secret Service: KWallet " + what, Advice: "try again"}
}
