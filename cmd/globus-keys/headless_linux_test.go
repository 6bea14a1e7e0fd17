package main

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// nobody is a user without anything.
const nobody = 65534

// surroundings are where the command runs on a headless machine: less is there, or
// something else, than on a desktop.
type surroundings struct {
	user  int                     // who runs it, and owns its files
	bring func(*headless)         // makes them so; nil: nothing is to be done
	ends  map[string]ending       // of the steps that end otherwise than usual
	steps map[string]headlessStep // more of them
}

// headlessStep is a command, and how it ends where everything is well.
type headlessStep struct {
	args []string // PASS and PLAIN stand for files
	ending
}

type ending struct {
	code   int
	stdout string // is in it; "": nothing is printed
	stderr string // is in it
}

// headlessSteps run in this order, in all surroundings.
var headlessSteps = []struct {
	name string
	headlessStep
}{
	{"version", headlessStep{[]string{"version"}, ending{0, "globus-keys", ""}}},
	{"status", headlessStep{[]string{"status"}, ending{0, "locked: names only", ""}}},
	{"token, locked", headlessStep{[]string{"token", "transfer"}, ending{5, "", "hint: "}}},
	{"token", headlessStep{[]string{"token", "transfer", "--passphrase-file", "PASS"}, ending{0, "FakeAccessHeadless\n", ""}}},
	{"import", headlessStep{[]string{"import", "PLAIN", "--passphrase-file", "PASS"}, ending{0, "", "groups.api.globus.org"}}},
	{"what was imported", headlessStep{[]string{"token", "groups", "--passphrase-file", "PASS"}, ending{0, "FakeAccessImported\n", ""}}},
}

// TestHeadless: right answers and exit codes wherever there is no desktop; nothing
// hangs, and nothing is left behind.
func TestHeadless(t *testing.T) {
	testenv.NeedRoot(t)
	command := staticCommand(t)
	for name, s := range allSurroundings {
		t.Run(name, func(t *testing.T) {
			h := newHeadless(t, command, s)
			before := h.files()
			for _, step := range headlessSteps {
				h.run(step.name, step.headlessStep)
			}
			for _, name := range slices.Sorted(maps.Keys(s.steps)) {
				h.run(name, s.steps[name])
			}
			for path := range h.files() {
				if !before[path] {
					t.Errorf("it has left %s", path)
				}
			}
			if pids := h.processes(); len(pids) > 0 {
				t.Errorf("it has left processes: %q", pids)
			}
		})
	}
}

// Everything but version ends like this there.
func all(e ending) map[string]ending {
	ends := make(map[string]ending)
	for _, step := range headlessSteps {
		if step.name != "version" {
			ends[step.name] = e
		}
	}
	return ends
}

// empty is how steps end where there is no store and none can be made.
var empty = map[string]ending{
	"status":            {0, "not made yet", ""},
	"token, locked":     {3, "", "not found"},
	"token":             {3, "", "not found"},
	"import":            {6, "", "hint: make the directory of the store writable"},
	"what was imported": {3, "", "not found"},
}

// readOnly lets the command see HOME as a file system that is read-only.
func (h *headless) readOnly() {
	h.Helper()
	h.after("unshare", "-m", "/bin/sh", "-c", `mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME" && exec "$0" "$@"`)
}

var allSurroundings = map[string]surroundings{
	"no session": {},

	"no HOME": {
		bring: func(h *headless) { delete(h.env, "HOME") },
		ends:  all(ending{6, "", "HOME is not set to an absolute path; name a store with --store"}),
	},
	"no HOME, but a store is named": {bring: func(h *headless) {
		h.env["GLOBUS_KEYS_STORE"] = "file:" + h.env["HOME"] + "/.local/share/globus-keys/tokens.json"
		delete(h.env, "HOME")
	}},
	"HOME is not there": {
		user:  nobody,
		bring: func(h *headless) { h.env["HOME"] = "/nonexistent" },
		ends:  empty,
	},
	"HOME is read-only": {
		bring: (*headless).readOnly,
		ends: map[string]ending{
			"import":            {6, "", "read-only file system"},
			"what was imported": {3, "", "not found"},
		},
	},
	"HOME is read-only and empty": {
		bring: func(h *headless) {
			h.env["HOME"] = h.dir + "/empty"
			if err := os.Mkdir(h.env["HOME"], 0o700); err != nil {
				h.Fatal(err)
			}
			h.readOnly()
		},
		ends: empty,
	},

	"another user": {user: nobody},
	"root with HOME and session of a user": {
		bring: func(h *headless) {
			h.own(h.env["HOME"], nobody)
			h.session(nobody)
		},
		ends: all(ending{7, "", "belongs to uid 65534, not to uid 0"}),
	},
	"a user with HOME and session of root": {
		user: nobody,
		bring: func(h *headless) {
			h.own(h.env["HOME"], 0)
			h.session(0)
		},
		ends: all(ending{6, "", "hint: run it as the user whose file that is"}),
	},
	"sudo": {bring: func(h *headless) { // to a user, with what of the environment it lets through
		h.own(h.dir, nobody)
		h.session(0)
		h.after("sudo", "--preserve-env=HOME,XDG_RUNTIME_DIR,DBUS_SESSION_BUS_ADDRESS", "-u", "nobody")
	}},

	"an empty root": {bring: func(h *headless) {
		h.own(h.dir, nobody)
		h.before, h.inside, h.env = nil, "", map[string]string{"HOME": "/home"}
		h.after("chroot", "--userspec=65534:65534", h.dir)
	}, steps: map[string]headlessStep{
		"a new store": {[]string{"import", "PLAIN", "--passphrase-file", "PASS", "--store", "file:/home/.local/share/globus-keys/new/tokens.json"},
			ending{0, "", "groups.api.globus.org"}},
	}},
	"somebody else's runtime directory": {
		bring: func(h *headless) { // whoever comes first can make it, where there is no session
			dir := h.dir + "/tmp/globus-keys-0"
			if err := os.Mkdir(dir, 0o700); err != nil {
				h.Fatal(err)
			}
			h.own(dir, nobody)
		},
		ends: map[string]ending{"status": {0, "locked: names only", "belongs to uid 65534"}}, // nobody can unlock by it
	},
	"namespaces of its own": {user: nobody, bring: func(h *headless) {
		h.after("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
	}},
}
