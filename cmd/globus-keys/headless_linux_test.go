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
	stale bool                    // the agent is killed there, and leaves its socket
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
	{"unlock", headlessStep{[]string{"unlock", "--passphrase-file", "PASS"}, ending{0, "", "is unlocked for 8 hours"}}},
	{"agent status", headlessStep{[]string{"agent", "status"}, ending{0, "tokens.json: unlocked until", ""}}},
	{"token, unlocked", headlessStep{[]string{"token", "transfer"}, ending{0, "FakeAccessHeadless\n", ""}}},
	{"lock", headlessStep{[]string{"lock"}, ending{0, "", "tokens.json is locked"}}},
	{"token, locked again", headlessStep{[]string{"token", "transfer"}, ending{5, "", "hint: globus-keys unlock"}}},
	{"agent stop", headlessStep{[]string{"agent", "stop"}, ending{0, "", "the agent has ended"}}},
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
			if pids := h.processes(); len(pids) > 0 {
				t.Errorf("it has left processes: %d", pids)
			}
			for path := range h.files() {
				if !before[path] && !h.mayStay(path) {
					t.Errorf("it has left %s", path)
				}
			}
		})
	}
}

// all is how steps end where each that needs a store ends like this, so that there is
// no agent either.
func all(e ending) map[string]ending {
	ends := make(map[string]ending)
	for _, step := range headlessSteps {
		if step.name != "version" {
			ends[step.name] = e
		}
	}
	maps.Copy(ends, noneRuns)
	return ends
}

// noneRuns is how steps end where there is no agent.
var noneRuns = map[string]ending{
	"agent status": {3, "", "hint: globus-keys unlock starts one"},
	"agent stop":   {0, "", "no agent is running"},
}

// noneLasts is how steps end where there is none that outlives unlock.
var noneLasts = with(noneRuns, map[string]ending{
	"token, unlocked": {5, "", "hint: globus-keys unlock"},
	"lock":            {0, "", "was not unlocked"},
})

// empty is how steps end where there is no store and none can be made.
var empty = with(all(ending{3, "", "not found"}), map[string]ending{
	"status": {0, "not made yet", ""},
	"import": {6, "", "hint: make the directory of the store writable"},
	"unlock": {3, "", "makes a store"},
})

// taken is how steps end where what is in the agent's place is somebody else's.
func taken() map[string]ending {
	e := ending{6, "", "belongs to uid 65534, not to uid 0: use a directory of your own\nglobus-keys: hint: look who owns that, and have him or root remove it; or set XDG_RUNTIME_DIR"}
	ends := all(e)
	for _, name := range []string{"token", "import", "what was imported"} { // these need no agent
		delete(ends, name)
	}
	return with(ends, map[string]ending{"agent status": e, "agent stop": e, "status": {0, "locked: names only", e.stderr}})
}

func with(ends, others map[string]ending) map[string]ending {
	ends = maps.Clone(ends)
	maps.Copy(ends, others)
	return ends
}

// readOnly lets the command see HOME as a file system that is read-only.
func (h *headless) readOnly() {
	h.Helper()
	h.after("unshare", "-m", "/bin/sh", "-c", `mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME" && exec "$0" "$@"`)
}

// given is how steps end where the environment names the passphrase.
var given = map[string]ending{
	"status":              {0, "usable until it expires", ""},
	"token, locked":       {0, "FakeAccessHeadless\n", ""},
	"token, locked again": {0, "FakeAccessHeadless\n", ""},
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
	}, ends: with(noneLasts, map[string]ending{ // without /proc nobody knows where the command is
		"unlock": {6, "", "start the agent: unavailable: readlink /proc/self/exe: no such file or directory\nglobus-keys: hint: do without unlock"},
	}), steps: map[string]headlessStep{
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
		ends: taken(),
	},
	"a service with a credential": {user: nobody, ends: given, bring: func(h *headless) {
		dir := h.dir + "/credentials"
		h.credential(dir, "passphrase", 0o440)
		h.env["CREDENTIALS_DIRECTORY"] = dir
		h.env["GLOBUS_KEYS_PASSPHRASE_FILE"] = dir + "/passphrase"
	}},
	"a container with a secret": {user: nobody, ends: given, bring: func(h *headless) {
		h.secrets()
		h.env["GLOBUS_KEYS_PASSPHRASE_FILE"] = "/run/secrets/globus-keys/passphrase"
	}},
	"namespaces of its own": {user: nobody, bring: func(h *headless) {
		h.after("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
	}, ends: noneLasts, stale: true}, // it ends with the namespace of each command
}
