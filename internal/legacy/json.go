package legacy

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

// members are the members of a JSON object.
type members map[string]json.RawMessage

func parseJSON(data []byte, where facts) (*File, error) {
	if err := strictjson.Check(data); err != nil {
		return nil, corrupt(err.Error())
	}
	top, ok := object(data)
	switch {
	case !ok:
		return nil, foreign("it is JSON, but not an object of tokens; " + expected)
	case top["globus_keys"] != nil:
		return nil, foreign("it is a globus-keys store, not a plain token file; --store file:PATH uses it as it is")
	case top["format_version"] != nil:
		return parseSDK(top, where)
	case top["by_rs"] != nil, top["globus-sdk.version"] != nil:
		return nil, corrupt("it is a file of the Globus SDK without format_version")
	case top["access_token"] != nil:
		return nil, foreign("it is a single token, not a token file; " + expected)
	}
	return parseBare(top)
}

// parseSDK reads the files of the Globus SDK for Python.
func parseSDK(top members, where facts) (*File, error) {
	version, ok := text(top["format_version"])
	switch {
	case !ok:
		return nil, corrupt("format_version is not a string")
	case version == "1.0":
		return parseSDK1(top, where)
	case version == "2.0":
		return parseSDK2(top, where)
	}
	return nil, foreignf("it has format_version %q, which a later version of the Globus SDK may have written; 1.0 and 2.0 are known", version)
}

func parseSDK1(top members, where facts) (*File, error) {
	if err := checkSDK(top, "by_rs"); err != nil {
		return nil, err
	}
	tokens, err := records(keystore.DefaultNamespace, top["by_rs"])
	if err != nil {
		return nil, err
	}
	content := keystore.Content{Namespace: keystore.DefaultNamespace, Tokens: tokens}
	return sdkFile(sdkJSON1, []keystore.Content{content}, where), nil
}

func parseSDK2(top members, where facts) (*File, error) {
	if err := checkSDK(top, "data"); err != nil {
		return nil, err
	}
	data, ok := object(top["data"])
	if !ok {
		return nil, corrupt(`"data" is not an object`)
	}
	var contents []keystore.Content
	for _, namespace := range slices.Sorted(maps.Keys(data)) {
		tokens, err := records(namespace, data[namespace])
		if err != nil {
			return nil, err
		}
		contents = append(contents, keystore.Content{Namespace: namespace, Tokens: tokens})
	}
	return sdkFile(sdkJSON2, contents, where), nil
}

// checkSDK refuses a file that has other members than the SDK writes: an import
// would lose them.
func checkSDK(top members, data string) error {
	for _, name := range slices.Sorted(maps.Keys(top)) {
		switch name {
		case data, "format_version":
		case "globus-sdk.version":
			if _, ok := text(top[name]); !ok {
				return corruptf("%q is not a string", name)
			}
		default:
			return corruptf("it has a member %q that the Globus SDK does not write", name)
		}
	}
	if top[data] == nil {
		return corruptf("it has no %q", data)
	}
	return nil
}

// sdkFile is a file of the SDK, whose logins are Globus's.
func sdkFile(format string, contents []keystore.Content, where facts) *File {
	var notes []string
	for i := range contents {
		notes = append(notes, setAccount(&contents[i], where)...)
	}
	return newFile(format, contents, notes)
}

// parseBare reads {resource server: record}, which says nothing about itself:
// it takes one token for the file to be believed to hold tokens, and then all
// must be.
func parseBare(top members) (*File, error) {
	if !slices.ContainsFunc(slices.Collect(maps.Values(top)), hasToken) {
		return nil, foreign("it is JSON, but not a token file; " + expected)
	}
	tokens, err := tokensOf(keystore.DefaultNamespace, top)
	if err != nil {
		return nil, err
	}
	content := keystore.Content{Namespace: keystore.DefaultNamespace, Tokens: tokens}
	return newFile("tokens by resource server, as Parsl keeps them", []keystore.Content{content},
		[]string{"the file does not say which issuer and client its logins are of: they last until they expire"}), nil
}

func hasToken(value json.RawMessage) bool {
	record, ok := object(value)
	return ok && record["access_token"] != nil
}

// records reads {resource server: record}.
func records(namespace string, value json.RawMessage) ([]keystore.Token, error) {
	byServer, ok := object(value)
	if !ok {
		return nil, corruptf("namespace %q is not an object of records", namespace)
	}
	return tokensOf(namespace, byServer)
}

func tokensOf(namespace string, byServer members) ([]keystore.Token, error) {
	var tokens []keystore.Token
	for _, name := range slices.Sorted(maps.Keys(byServer)) {
		t, err := record(namespace, name, byServer[name])
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// object splits one JSON object that strictjson has seen.
func object(value []byte) (members, bool) {
	var m members
	err := json.Unmarshal(value, &m)
	return m, err == nil && m != nil
}

// text decodes a JSON string.
func text(value []byte) (string, bool) {
	var s *string
	if json.Unmarshal(value, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}
