package secretservicetest

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
)

const (
	name   = "org.freedesktop.secrets"
	root   = "/org/freedesktop/secrets"
	prefix = "org.freedesktop.Secret."
)

// Service is a scripted Secret Service.
type Service struct {
	conn  *dbus.Conn
	other *dbus.Conn    // whose signals are no concern of the client
	done  chan struct{} // closed by Stop
	stop  sync.Once

	mu       sync.Mutex
	opts     Options
	items    map[dbus.ObjectPath]*Item
	sessions map[dbus.ObjectPath][]byte     // their keys, nil for plain
	prompts  map[dbus.ObjectPath]func() any // what a prompt does when it is answered
	calls    map[string]int
	clients  map[string]bool
	last     int // number of the last object
}

// New starts a service on the bus, which must not have one. It ends with the
// test.
func New(t testing.TB, bus *desktoptest.Bus, opts Options) *Service {
	t.Helper()
	s := &Service{
		opts:     opts,
		done:     make(chan struct{}),
		items:    make(map[dbus.ObjectPath]*Item),
		sessions: make(map[dbus.ObjectPath][]byte),
		prompts:  make(map[dbus.ObjectPath]func() any),
		calls:    make(map[string]int),
		clients:  make(map[string]bool),
		other:    bus.Dial(),
	}
	s.conn = bus.Dial(dbus.WithHandler(handler{s}))
	names := []string{name}
	if opts.KWallet {
		names = append(names, "org.kde.kwalletd6")
	}
	if opts.KeePassXC {
		names = append(names, "org.keepassxc.KeePassXC.MainWindow")
	}
	for _, n := range names {
		if reply, err := s.conn.RequestName(n, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Fatalf("the name %s: %v, %v", n, reply, err)
		}
	}
	t.Cleanup(s.Stop)
	return s
}

// Stop ends the service: it leaves the bus.
func (s *Service) Stop() {
	s.stop.Do(func() {
		close(s.done)
		s.conn.Close()
	})
}

// Change changes how the service behaves from now on.
func (s *Service) Change(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.opts)
}

func (s *Service) options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts
}

// Add adds an item as our own program and go-keyring name them.
func (s *Service) Add(account, value string) {
	s.AddItem(Item{Value: value, Attributes: map[string]string{"service": "globus-keys", "username": account}})
}

// AddItem adds any item.
func (s *Service) AddItem(item Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[s.object("collection/login")] = &item
}

// Items returns a copy of what there is.
func (s *Service) Items() (items []Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(s.items)) {
		items = append(items, *s.items[path])
	}
	return items
}

// Calls returns how often a method was called: "Prompt".
func (s *Service) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// AllCalls returns how often any method was called.
func (s *Service) AllCalls() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, count := range s.calls {
		n += count
	}
	return n
}

// Sessions returns how many sessions are open.
func (s *Service) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// LoseSessions forgets all sessions.
func (s *Service) LoseSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Clients returns how many connections have called.
func (s *Service) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

// object returns the path of a new object. The caller holds mu.
func (s *Service) object(kind string) dbus.ObjectPath {
	s.last++
	return dbus.ObjectPath(root + "/" + kind + "/n" + strings.Repeat("i", s.last))
}

// call is a method call that has come in.
type call struct {
	method string // "org.freedesktop.Secret.Service.OpenSession"
	path   dbus.ObjectPath
	client string
	args   []any
}

// handle answers a call.
func (s *Service) handle(c call) ([]any, error) {
	short := c.method[strings.LastIndex(c.method, ".")+1:]
	s.mu.Lock()
	s.calls[short]++
	s.clients[c.client] = true
	opts := s.opts
	s.mu.Unlock()
	if opts.Before != nil {
		opts.Before(short)
	}
	if opts.Hang == short {
		<-s.done
	}
	if reply, ok := opts.Reply[short]; ok {
		return reply, nil
	}
	if reply, ok := opts.Error[short]; ok {
		return nil, dbus.NewError(reply, []any{"as the test wants it"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok := methods[c.method]
	if !ok {
		return nil, dbus.MakeUnknownMethodError(c.method)
	}
	return answer(s, c)
}

// handler, object and method give all calls to handle.
type (
	handler struct{ service *Service }
	object  struct {
		service *Service
		iface   string
	}
	method struct {
		service *Service
		name    string
	}
)

func (h handler) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) {
	return object{service: h.service}, true
}

func (o object) LookupInterface(iface string) (dbus.Interface, bool) {
	o.iface = iface
	return o, true
}

func (o object) LookupMethod(name string) (dbus.Method, bool) {
	return method{o.service, o.iface + "." + name}, true
}

func (m method) DecodeArguments(_ *dbus.Conn, sender string, msg *dbus.Message, args []any) ([]any, error) {
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	return []any{call{m.name, path, sender, args}}, nil
}

func (m method) Call(args ...any) ([]any, error) { return m.service.handle(args[0].(call)) }
func (m method) NumArguments() int               { return 1 }
func (m method) NumReturns() int                 { return 0 }
func (m method) ArgumentValue(int) any           { return nil }
func (m method) ReturnValue(int) any             { return nil }
