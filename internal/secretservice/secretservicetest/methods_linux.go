package secretservicetest

import (
	"maps"

	"github.com/godbus/dbus/v5"
)

// methods are what the service can do. They are called with mu held.
var methods = map[string]func(*Service, call) ([]any, error){
	prefix + "Service.OpenSession":        (*Service).openSession,
	prefix + "Service.SearchItems":        (*Service).searchItems,
	prefix + "Service.ReadAlias":          (*Service).readAlias,
	prefix + "Service.Unlock":             (*Service).unlock,
	prefix + "Collection.CreateItem":      (*Service).createItem,
	prefix + "Item.GetSecret":             (*Service).getSecret,
	prefix + "Item.Delete":                (*Service).deleteItem,
	prefix + "Session.Close":              (*Service).closeSession,
	prefix + "Prompt.Prompt":              (*Service).showPrompt,
	prefix + "Prompt.Dismiss":             (*Service).dismiss,
	"org.freedesktop.DBus.Properties.Get": (*Service).property,
}

func (s *Service) searchItems(c call) ([]any, error) {
	wanted, _ := c.args[0].(map[string]string)
	open, closed := []dbus.ObjectPath{}, []dbus.ObjectPath{}
	for path, item := range s.items {
		switch {
		case !maps.Equal(item.Attributes, wanted):
		case item.Locked || s.opts.Locked:
			closed = append(closed, path)
		default:
			open = append(open, path)
		}
	}
	return []any{open, closed}, nil
}

func (s *Service) readAlias(call) ([]any, error) {
	if s.opts.Default != "" {
		return []any{s.opts.Default}, nil
	}
	return []any{Collection}, nil
}

func (s *Service) property(c call) ([]any, error) {
	switch c.args[1] {
	case "Collections":
		return []any{dbus.MakeVariant([]dbus.ObjectPath{Collection, Volatile})}, nil
	case "Locked":
		locked := c.path == Collection && s.opts.Locked || c.path == Volatile && s.opts.OtherLocked
		return []any{dbus.MakeVariant(locked)}, nil
	}
	return nil, &dbus.ErrMsgInvalidArg
}

func (s *Service) unlock(c call) ([]any, error) {
	objects, _ := c.args[0].([]dbus.ObjectPath)
	if !s.opts.Locked && !s.anyLocked(objects) {
		return []any{objects, Nothing}, nil
	}
	return []any{[]dbus.ObjectPath{}, s.prompt(func() any {
		s.opts.Locked = false
		for _, path := range objects {
			if item := s.items[path]; item != nil {
				item.Locked = false
			}
		}
		return objects
	})}, nil
}

func (s *Service) anyLocked(objects []dbus.ObjectPath) bool {
	for _, path := range objects {
		if item := s.items[path]; item != nil && item.Locked {
			return true
		}
	}
	return false
}

func (s *Service) createItem(c call) ([]any, error) {
	if s.opts.Locked {
		return nil, dbus.NewError(prefix+"Error.IsLocked", []any{"locked"})
	}
	item, err := s.decode(c)
	if err != nil {
		return nil, err
	}
	create := func() any {
		path := s.object("collection/login")
		s.items[path] = item
		if s.opts.Forgets {
			item.Value = ""
		}
		return path
	}
	if s.opts.AskBeforeCreate {
		return []any{Nothing, s.prompt(create)}, nil
	}
	return []any{create(), Nothing}, nil
}

func (s *Service) decode(c call) (*Item, error) {
	properties, _ := c.args[0].(map[string]dbus.Variant)
	fields, _ := c.args[1].([]any)
	if len(properties) != 2 || len(fields) != 4 {
		return nil, dbus.ErrMsgInvalidArg
	}
	session, _ := fields[0].(dbus.ObjectPath)
	iv, _ := fields[1].([]byte)
	value, _ := fields[2].([]byte)
	key, known := s.sessions[session]
	if !known {
		return nil, dbus.NewError(prefix+"Error.NoSession", []any{"no such session"})
	}
	label, _ := properties[prefix+"Item.Label"].Value().(string)
	attributes, _ := properties[prefix+"Item.Attributes"].Value().(map[string]string)
	return &Item{Label: label, Attributes: attributes, Value: decrypt(key, iv, value)}, nil
}

func (s *Service) getSecret(c call) ([]any, error) {
	item := s.items[c.path]
	session, _ := c.args[0].(dbus.ObjectPath)
	key, known := s.sessions[session]
	switch {
	case item == nil:
		return nil, dbus.NewError(prefix+"Error.NoSuchObject", []any{"no such item"})
	case !known:
		return nil, dbus.NewError(prefix+"Error.NoSession", []any{"no such session"})
	case item.Locked || s.opts.Locked:
		return nil, dbus.NewError(prefix+"Error.IsLocked", []any{"locked"})
	}
	iv, value := encrypt(key, item.Value)
	secret := Secret{session, iv, value, "text/plain; charset=utf8"}
	if item.Mangle != nil {
		item.Mangle(&secret)
	}
	return []any{secret}, nil
}

func (s *Service) deleteItem(c call) ([]any, error) {
	remove := func() any {
		delete(s.items, c.path)
		return ""
	}
	if s.opts.AskBeforeDelete {
		return []any{s.prompt(remove)}, nil
	}
	remove()
	return []any{Nothing}, nil
}

func (s *Service) closeSession(c call) ([]any, error) {
	delete(s.sessions, c.path)
	return nil, nil
}
