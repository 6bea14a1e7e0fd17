package keychain

import (
	"unsafe"

	"github.com/zalando/go-keyring"
	"golang.org/x/sys/windows"
)

// open returns the Credential Manager, which never asks anybody: Options say
// nothing here. Its items stay on the machine (CRED_PERSIST_LOCAL_MACHINE, by
// wincred) and do not roam with the profile.
func open(Options) Backend {
	return newGuarded(platform{
		Traits: Traits{
			Name:   credentialManagerName,
			Unlock: "log on at the machine or by remote desktop: a network or SSH logon has no credential set",
		},
		library: goKeyring{},
		probe:   maySave,
		missing: keyring.ErrNotFound,
		explain: explainErrno,
	})
}

// From wincred.h.
const (
	credTypeGeneric         = 1 // CRED_TYPE_GENERIC
	credTypes               = 7 // CRED_TYPE_MAXIMUM
	credPersistLocalMachine = 2 // CRED_PERSIST_LOCAL_MACHINE
)

var procCredGetSessionTypes = windows.NewLazySystemDLL("advapi32.dll").NewProc("CredGetSessionTypes")

// maySave asks how long this logon session may keep credentials. Git Credential
// Manager does the same (CanPersist), because a write would be the first to fail.
func maySave() error {
	if err := procCredGetSessionTypes.Find(); err != nil {
		return err
	}
	var longest [credTypes]uint32 // how long, by type
	ok, _, err := procCredGetSessionTypes.Call(credTypes, uintptr(unsafe.Pointer(&longest)))
	if ok == 0 {
		return err
	}
	if longest[credTypeGeneric] < credPersistLocalMachine {
		return noLogonSession()
	}
	return nil
}

type goKeyring struct{}

func (goKeyring) Set(service, user, value string) error    { return keyring.Set(service, user, value) }
func (goKeyring) Get(service, user string) (string, error) { return keyring.Get(service, user) }
func (goKeyring) Delete(service, user string) error        { return keyring.Delete(service, user) }
