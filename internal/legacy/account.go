package legacy

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/oauth"
)

// facts are what a path or a namespace says of the logins it holds. What it
// does not say is empty.
type facts struct {
	environment string // as GLOBUS_SDK_ENVIRONMENT names it
	clientID    string
}

// setAccount fills in whose logins a namespace of a Globus program holds, and
// returns what stays open. Two sources that contradict each other say nothing.
func setAccount(c *keystore.Content, where facts) []string {
	var notes []string
	note := func(format string, args ...any) {
		notes = append(notes, fmt.Sprintf("namespace %q: ", c.Namespace)+fmt.Sprintf(format, args...))
	}
	says := namespaceFacts(c.Namespace)
	client := agreed(says.clientID, configField(c, "auth_client_data", "client_id"), where.clientID)
	if len(client) == 1 {
		c.Account.ClientID = client[0]
		// The CLI logs in with the client that it keeps there; another program may not.
		c.AssumedClient = says == (facts{}) && where.clientID == ""
	} else if len(c.Tokens) > 0 {
		note("the file does not say which client its logins are of: they last until they expire")
	}
	environment := agreed(says.environment, where.environment)
	if len(environment) == 0 {
		environment, c.Assumed = []string{"production"}, true
	}
	issuer, known := oauth.GlobusIssuer(environment[0])
	if known && len(environment) == 1 {
		c.Account.Issuer = issuer
	} else {
		note("the environment %q is not known: its logins have no issuer, and last until they expire",
			strings.Join(environment, " or "))
	}
	c.Account.Subject = configField(c, "auth_user_data", "sub")
	return notes
}

// agreed returns the different answers among those that are one.
func agreed(answers ...string) []string {
	var said []string
	for _, a := range answers {
		if a != "" && (len(said) == 0 || said[0] != a) {
			said = append(said, a)
		}
	}
	return said
}

// namespaceFacts knows the namespaces of globus-cli and globus-compute.
func namespaceFacts(namespace string) facts {
	kind, rest, _ := strings.Cut(namespace, "/")
	environment, name, named := strings.Cut(rest, "/")
	switch {
	case environment == "":
	case kind == "userprofile", kind == "user" && !named:
		return facts{environment: environment}
	case kind == "clientprofile" && name != "" && !strings.Contains(name, "/"):
		return facts{environment: environment, clientID: name}
	}
	return facts{}
}

// pathFacts knows where the SDK's GlobusApp keeps its files:
// …/.globus/app/<client id>/<app>/[<environment>-]tokens.<json or db>, and on
// Windows …\globus\app\….
func pathFacts(path string) facts {
	full, err := filepath.Abs(path)
	if err != nil {
		return facts{}
	}
	dirs := strings.Split(filepath.ToSlash(full), "/")
	n := len(dirs)
	if n < 5 || dirs[n-4] != "app" || dirs[n-5] != ".globus" && dirs[n-5] != "globus" || !isUUID(dirs[n-3]) {
		return facts{}
	}
	name := strings.TrimSuffix(strings.TrimSuffix(dirs[n-1], ".json"), ".db")
	environment, ok := strings.CutSuffix(name, "-tokens")
	switch {
	case name == dirs[n-1], !ok && name != "tokens":
		return facts{}
	case !ok:
		environment = "production"
	}
	return facts{environment: environment, clientID: dirs[n-3]}
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}

// configField returns a string member of a configuration object, "" if there is
// none.
func configField(c *keystore.Content, config, member string) string {
	object, _ := object([]byte(c.Configs[config].Reveal()))
	s, _ := text(object[member])
	return s
}
