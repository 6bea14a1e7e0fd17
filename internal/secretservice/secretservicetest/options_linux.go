// Package secretservicetest is a Secret Service for tests, on a real bus, that
// keeps its items in memory and misbehaves in all the ways that real ones do.
package secretservicetest

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// Options of a service. With the zero value it behaves.
type Options struct {
	PlainOnly bool // it offers no encrypted session
	// ZeroByte: the number that the first session's key is made of begins with
	// a zero byte, and the service leaves it out.
	ZeroByte bool
	Locked   bool // its collection is, until a prompt for it is answered
	// OtherLocked: Volatile, which holds nothing, is locked.
	OtherLocked bool
	Default     dbus.ObjectPath // what the alias "default" names; "": Collection, "/": nothing

	AskBeforeCreate, AskBeforeDelete bool // a prompt comes first

	Prompts   Prompts
	Delay     time.Duration // before a prompt is completed
	Broadcast bool          // Completed goes to everybody and not to the client
	Completed []any         // the body of Completed, instead of what is right
	// Foreign: during a prompt others send Completed, with dismissed set, for
	// the same path, the service sends it for another, and more that does not
	// concern the client.
	Foreign bool

	Hang  string            // this method is never answered: "SearchItems"
	Reply map[string][]any  // what methods answer instead of what is right
	Error map[string]string // the name of the error that methods answer

	KWallet   bool // it is also known as org.kde.kwalletd6
	KeePassXC bool // it is also known as org.keepassxc.KeePassXC.MainWindow
	Forgets   bool // values of items that are made become empty, and it says that all is well

	// Shown is called after Delay, when a dialog is shown.
	Shown func()

	// Before is called before each method, with its name.
	Before func(method string)
}

// Prompts is what happens at a prompt.
type Prompts int

// What happens at a prompt.
const (
	Answered Prompts = iota
	Dismissed
	Ignored // until the client dismisses it
	Vanish  // the service ends
)

// Collection is the one with the items, Volatile one that ends with the session.
const (
	Collection dbus.ObjectPath = "/org/freedesktop/secrets/collection/login"
	Volatile   dbus.ObjectPath = "/org/freedesktop/secrets/collection/session"
	Nothing    dbus.ObjectPath = "/" // no collection, no item, no prompt
)

// Item is one that the service has.
type Item struct {
	Label      string
	Attributes map[string]string
	Value      string
	Locked     bool
	// Mangle changes the secret before it is sent; nil: not.
	Mangle func(*Secret)
}

// Secret is the struct Secret of the protocol.
type Secret struct {
	Session           dbus.ObjectPath
	Parameters, Value []byte
	ContentType       string
}
