package keychain

import "github.com/zalando/go-keyring"

// open returns the login keychain by way of /usr/bin/security: without cgo, and
// an item belongs to that program and not to ours, so that macOS does not ask
// again after each update. Options say nothing here: there is no way to ask
// this program not to ask.
func open(Options) Backend {
	return newGuarded(platform{
		Traits: Traits{
			Name: securityName,
			Unlock: "run: security unlock-keychain (in an SSH session the keychain is locked, " +
				"even while you are logged in at the screen)",
		},
		library: goKeyring{},
		probe:   readNothing,
		missing: keyring.ErrNotFound,
		explain: explainSecurity,
		silence: "macOS may be showing a dialog: answer it and try again; without a screen, run: security unlock-keychain",
	})
}

// readNothing reads an item that does not exist, which macOS answers without a
// dialog. It does not find out whether the keychain is locked: what asks for
// that shows the dialog. The first read of an item does.
func readNothing() error {
	_, err := keyring.Get(Service, "v1/probe")
	return err
}

type goKeyring struct{}

func (goKeyring) Set(service, user, value string) error    { return keyring.Set(service, user, value) }
func (goKeyring) Get(service, user string) (string, error) { return keyring.Get(service, user) }
func (goKeyring) Delete(service, user string) error        { return keyring.Delete(service, user) }
