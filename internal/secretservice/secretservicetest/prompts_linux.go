package secretservicetest

import (
	"time"

	"github.com/godbus/dbus/v5"
)

const completed = prefix + "Prompt.Completed"

// prompt returns the path of a new prompt. The caller holds mu, as does the
// caller of answer.
func (s *Service) prompt(answer func() any) dbus.ObjectPath {
	path := s.object("prompt")
	s.prompts[path] = answer
	return path
}

func (s *Service) showPrompt(c call) ([]any, error) {
	if s.prompts[c.path] == nil {
		return nil, dbus.NewError(prefix+"Error.NoSuchObject", []any{"no such prompt"})
	}
	go s.show(c.client, c.path)
	return nil, nil
}

// show is what a person sees and does.
func (s *Service) show(client string, prompt dbus.ObjectPath) {
	opts := s.options()
	if opts.Foreign {
		s.disturb(client, prompt)
	}
	time.Sleep(opts.Delay)
	if opts.Shown != nil {
		opts.Shown()
	}
	switch opts.Prompts {
	case Answered:
		s.complete(client, prompt, false)
	case Dismissed:
		s.complete(client, prompt, true)
	case Vanish:
		s.Stop()
	}
}

func (s *Service) dismiss(c call) ([]any, error) {
	if s.prompts[c.path] != nil {
		go s.complete(c.client, c.path, true)
	}
	return nil, nil
}

// complete ends a prompt, once.
func (s *Service) complete(client string, prompt dbus.ObjectPath, dismissed bool) {
	s.mu.Lock()
	answer := s.prompts[prompt]
	delete(s.prompts, prompt)
	var result any = ""
	if answer != nil && !dismissed {
		result = answer()
	}
	opts := s.opts
	s.mu.Unlock()
	if answer == nil {
		return
	}
	if opts.Broadcast {
		client = ""
	}
	body := []any{dismissed, dbus.MakeVariant(result)}
	if opts.Completed != nil {
		body = opts.Completed
	}
	signal(s.conn, client, prompt, completed, body...)
}

// disturb sends what does not concern the client.
func (s *Service) disturb(client string, prompt dbus.ObjectPath) {
	no := dbus.MakeVariant("")
	signal(s.other, client, prompt, completed, true, no)
	signal(s.other, "", prompt, completed, true, no)
	signal(s.conn, client, prompt+"x", completed, true, no)
	signal(s.conn, client, prompt, prefix+"Prompt.Opened", true, no)
	signal(s.conn, "", root, prefix+"Service.CollectionChanged", Collection)
	signal(s.other, client, "/org/freedesktop/DBus", "org.freedesktop.DBus.NameOwnerChanged", name, ":1.1", "")
	for range 100 {
		signal(s.other, client, "/noise", "noise.Noise.Noise", "noise")
	}
}

// signal sends a signal to one client, or to all who want it if that is "".
func signal(conn *dbus.Conn, client string, path dbus.ObjectPath, name string, values ...any) {
	if client == "" {
		conn.Emit(path, name, values...)
		return
	}
	dot := len(name) - 1
	for name[dot] != '.' {
		dot--
	}
	conn.Send(&dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(client),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(name[:dot]),
			dbus.FieldMember:      dbus.MakeVariant(name[dot+1:]),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(values...)),
		},
		Body: values,
	}, nil)
}
