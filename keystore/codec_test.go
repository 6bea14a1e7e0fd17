package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

var codecKey = tokenKey("DEFAULT", "transfer")

// extras returns the texts of unknown fields without white space, which
// encoding may drop.
func extras(t *testing.T, token Token) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for name, raw := range token.Extra {
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(raw.Reveal())); err != nil {
			t.Fatalf("extra field %q is not JSON: %v", name, err)
		}
		texts[name] = b.String()
	}
	return texts
}

func equalTokens(t *testing.T, a, b Token) bool {
	t.Helper()
	return a.ResourceServer == b.ResourceServer && a.Scope == b.Scope && a.TokenType == b.TokenType &&
		a.AccessToken.Equal(b.AccessToken) && a.RefreshToken.Equal(b.RefreshToken) &&
		a.ExpiresAt.Equal(b.ExpiresAt) && a.IdentityID == b.IdentityID &&
		a.Issuer == b.Issuer && a.ClientID == b.ClientID && a.Endpoints == b.Endpoints && a.Grant == b.Grant &&
		a.LoggedIn.Equal(b.LoggedIn) && a.Used.Equal(b.Used) && maps.Equal(extras(t, a), extras(t, b))
}

func TestTokenComesBackAsItWas(t *testing.T) {
	for name, want := range map[string]Token{
		"nothing but a name": {ResourceServer: "transfer"},
		"everything": {ResourceServer: "transfer", Scope: "a b", TokenType: "Bearer",
			AccessToken: NewSecret("a<>&\"\\\u2028é\U0001F511"), RefreshToken: NewSecret("r"),
			ExpiresAt: time.Unix(1700000000, 0), IdentityID: "id", Issuer: "https://x?a=1&b=2", ClientID: "c",
			Endpoints: Endpoints{"https://x/token", "https://x/revoke"}, Grant: GrantClientCredentials,
			LoggedIn: time.Unix(1600000000, 0), Used: time.Unix(1600000001, 0)},
		"the last second":      {ResourceServer: "transfer", ExpiresAt: time.Unix(maxExpiry, 0)},
		"the first second":     {ResourceServer: "transfer", ExpiresAt: time.Unix(1, 0)},
		"another time zone":    {ResourceServer: "transfer", ExpiresAt: time.Unix(1700000000, 0).In(time.FixedZone("x", 7200))},
		"unknown fields":       {ResourceServer: "transfer", Extra: map[string]Secret{"issuer": NewSecret(`"not ours"`), "client_id": NewSecret(`null`), "token": NewSecret(`{}`), "": NewSecret(`1`), "Ünïcode": NewSecret(`[1e400,-0,1.50]`)}},
		"text that looks null": {ResourceServer: "transfer", Scope: "null", AccessToken: NewSecret("null")},
	} {
		payload, err := encodeToken(codecKey, want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := decodeToken(codecKey, payload)
		if err != nil || !equalTokens(t, got, want) {
			t.Errorf("%s: %s came back as %+v, %v", name, payload, got, err)
		}
	}
}

// The fields of the SDK's record stand untouched inside of ours, so that none
// of a foreign record passes for issuer or client.
func TestPayloadHasItsForm(t *testing.T) {
	token := Token{ResourceServer: "transfer", AccessToken: NewSecret("a<"), ExpiresAt: time.Unix(1700000000, 0),
		Issuer: "https://i", ClientID: "c", Extra: map[string]Secret{"issuer": NewSecret(`"evil"`)}}
	payload, err := encodeToken(codecKey, token)
	want := `{"issuer":"https://i","client_id":"c","token":{"access_token":"a<","expires_at_seconds":1700000000,"issuer":"evil","resource_server":"transfer"}}`
	if err != nil || string(payload) != want {
		t.Errorf("got  %s, %v\nwant %s", payload, err, want)
	}
}

func TestFormatTokenRecordIsTheSDKs(t *testing.T) {
	record := `{"access_token":"a","expires_at_seconds":1700000000,"identity_id":"i","refresh_token":"r","resource_server":"s","scope":"x y","token_type":"Bearer","unknown":{"b":[1,2]}}`
	token, err := ParseTokenRecord([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	token.Issuer, token.ClientID = "not in the record", "neither"
	if got, err := FormatTokenRecord(token); err != nil || string(got) != record {
		t.Errorf("got  %s, %v\nwant %s", got, err, record)
	}
}

func TestFormatTokenRecordDropsExtraFieldsOfKnownNames(t *testing.T) {
	token := Token{ResourceServer: "s", AccessToken: NewSecret("a"), Extra: map[string]Secret{"refresh_token": NewSecret(`"planted"`)}}
	if got, err := FormatTokenRecord(token); err != nil || bytes.Contains(got, []byte("planted")) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestNullCountsAsAbsent(t *testing.T) {
	token, err := ParseTokenRecord([]byte(`{"resource_server":"s","scope":null,"access_token":null,"refresh_token":null,
		"token_type":null,"identity_id":null,"expires_at_seconds":null,"unknown":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Token{ResourceServer: "s", Extra: map[string]Secret{"unknown": NewSecret("null")}}
	if !equalTokens(t, token, want) || !token.ExpiresAt.IsZero() {
		t.Errorf("got %+v", token)
	}
}

func TestExpiryIsReadWithinLimits(t *testing.T) {
	for text, want := range map[string]int64{
		"1700000000": 1700000000, "1.7e9": 1700000000, "1700000000.9": 1700000000, "17e8": 1700000000,
		"1": 1, "253402300799": maxExpiry, "2.53402300799E+11": maxExpiry,
	} {
		token, err := ParseTokenRecord([]byte(`{"expires_at_seconds":` + text + `}`))
		if err != nil || token.ExpiresAt.Unix() != want || token.ExpiresAt.Nanosecond() != 0 {
			t.Errorf("%s: got %v, %v", text, token.ExpiresAt, err)
		}
	}
	for _, text := range []string{"0", "-0", "0.0", "0.5", "1e-400"} {
		token, err := ParseTokenRecord([]byte(`{"expires_at_seconds":` + text + `}`))
		if err != nil || !token.ExpiresAt.IsZero() {
			t.Errorf("%s: got %v, %v; want the end not known", text, token.ExpiresAt, err)
		}
	}
	for _, text := range []string{"-1", "-0.5", "253402300800", "1e12", "1e308", "1e309", "1e400", "1e999999999",
		"99999999999999999999999999", `"1700000000"`, "true", "[]", "{}"} {
		token, err := ParseTokenRecord([]byte(`{"expires_at_seconds":` + text + `}`))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, %v; want %v", text, token.ExpiresAt, err, ErrCorrupt)
		}
	}
}

func TestRecordsOnWhichParsersDisagreeAreRefused(t *testing.T) {
	for name, record := range map[string]string{
		"empty": ``, "null": `null`, "a list": `[]`, "a string": `"x"`, "a number": `1`, "two values": `{}{}`, "no end": `{"a":1`,
		"a key twice":             `{"access_token":"a","access_token":"b"}`,
		"a key twice, escaped":    `{"access_token":"a","\u0061ccess_token":"b"}`,
		"an unknown key twice":    `{"x":1,"x":1}`,
		"a key twice deep inside": `{"x":[{"y":1,"y":2}]}`,
		"wrongly cased":           `{"Access_Token":"a"}`,
		"wrongly cased beside":    `{"access_token":"a","ACCESS_TOKEN":"b"}`,
		"folded by Unicode":       `{"\u017fcope":"a"}`,
		"a number for a text":     `{"scope":1}`,
		"a list for a token":      `{"access_token":["a"]}`,
		"broken UTF-8":            "{\"access_token\":\"a\xff\"}",
		"a lone surrogate":        `{"access_token":"\ud800"}`,
	} {
		if token, err := ParseTokenRecord([]byte(record)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %+v, %v; want %v", name, token, err, ErrCorrupt)
		}
		payload := `{"token":` + record + `}`
		if token, err := decodeToken(codecKey, []byte(payload)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, as payload: got %+v, %v; want %v", name, token, err, ErrCorrupt)
		}
	}
}

func TestPayloadsOfOursAreReadStrictly(t *testing.T) {
	token := `"token":{"resource_server":"transfer","access_token":"a"}`
	if _, err := decodeToken(codecKey, []byte(`{`+token+`}`)); err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string]string{
		"a later version's field": `{` + token + `,"new":1}`,
		"wrongly cased":           `{` + token + `,"Issuer":"x"}`,
		"issuer twice":            `{"issuer":"x","issuer":"y",` + token + `}`,
		"a number as issuer":      `{"issuer":1,` + token + `}`,
		"no token":                `{"issuer":"x"}`,
		"a null token":            `{"token":null}`,
		"another resource server": `{"token":{"resource_server":"groups","access_token":"a"}}`,
		"no resource server":      `{"token":{"access_token":"a"}}`,
		"something behind":        `{` + token + `}x`,
	} {
		if got, err := decodeToken(codecKey, []byte(payload)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %+v, %v; want %v", name, got, err, ErrCorrupt)
		}
	}
	for name, payload := range map[string]string{
		"a later version's field": `{"subject":"x","new":1}`,
		"wrongly cased":           `{"Subject":"x"}`,
		"subject twice":           `{"subject":"x","subject":"y"}`,
		"a list as subject":       `{"subject":["x"]}`,
		"null":                    `null`,
	} {
		if got, err := decodeAccount([]byte(payload)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("account, %s: got %+v, %v; want %v", name, got, err, ErrCorrupt)
		}
	}
}

func TestAccountComesBackAsItWas(t *testing.T) {
	for _, want := range []Account{{}, {"s", "https://i", "c", "somebody"}, {Subject: `"<é`}} {
		payload, err := encodeAccount(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeAccount(payload); err != nil || got != want {
			t.Errorf("%s came back as %+v, %v", payload, got, err)
		}
	}
}

// An account is decoded from what was encoded, or was never stored.
func TestAccountThatCannotComeBackIsRefused(t *testing.T) {
	want := Account{Subject: "s\xff"}
	payload, err := encodeAccount(want)
	if err != nil {
		return
	}
	if got, err := decodeAccount(payload); err != nil || got != want {
		t.Errorf("%+v was taken and came back as %+v, %v", want, got, err)
	}
}

// FuzzTokenRecord holds the parser to its promise: what it accepts is written
// again as a record that says the same.
func FuzzTokenRecord(f *testing.F) {
	for _, s := range []string{
		`{}`,
		`{"access_token":"a","refresh_token":null,"scope":"x y","expires_at_seconds":1700000000,"resource_server":"s"}`,
		`{"expires_at_seconds":0.5,"token_type":"Bearer","identity_id":"i"}`,
		`{"expires_at_seconds":1e9,"x":{"a" : [1e400, "\u2028", -0.0]}}`,
		`{"issuer":"x","client_id":null,"token":{"access_token":1}}`,
		`{"":"","\u0000":"\ud83d\udd11"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := ParseTokenRecord(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("the error is %v, want %v", err, ErrCorrupt)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Fatalf("the error %q has a control character", err)
			}
			return
		}
		again, err := FormatTokenRecord(first)
		if err != nil {
			t.Fatalf("%q was accepted and cannot be written: %v", data, err)
		}
		second, err := ParseTokenRecord(again)
		if err != nil || !equalTokens(t, first, second) {
			t.Fatalf("%q was accepted, and %q, its new form, says something else: %+v, %+v, %v", data, again, first, second, err)
		}
		first.Issuer, first.ClientID = "https://i", "c"
		key := tokenKey("DEFAULT", first.ResourceServer)
		payload, err := encodeToken(key, first)
		if err != nil {
			t.Fatalf("%q was accepted and cannot be stored: %v", data, err)
		}
		third, err := decodeToken(key, payload)
		if err != nil || !equalTokens(t, first, third) {
			t.Fatalf("%q was stored as %q, which says something else: %+v, %+v, %v", data, payload, first, third, err)
		}
	})
}

// TestTextsAreWrittenAsJSONHasThem: what is written by hand, for the sake of
// memory, means the same as what encoding/json writes.
func TestTextsAreWrittenAsJSONHasThem(t *testing.T) {
	texts := []string{"", "fake-token", `"quoted" \back\slashed`, "\xff\xfe cut \xe2\x82", "\U0010ffff", "</script>&"}
	for r := range rune(0x3000) {
		texts = append(texts, "a"+string(r)+"z")
	}
	for _, text := range texts {
		var b bytes.Buffer
		writeText(&b, text)
		standard, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got, want string
		if err := errors.Join(json.Unmarshal(b.Bytes(), &got), json.Unmarshal(standard, &want)); err != nil || got != want {
			t.Errorf("%q is written as %s: %v", text, b.Bytes(), err)
		}
	}
}

func TestRecordIsWrittenAsBefore(t *testing.T) {
	for want, token := range map[string]Token{
		`{}`: {},
		`{"access_token":"a<b\"\\","b":[1,{"c":null}],"expires_at_seconds":1700000000,"resource_server":"x.example","zz":1.50}`: {
			ResourceServer: "x.example", AccessToken: NewSecret(`a<b"\`), ExpiresAt: time.Unix(1700000000, 0),
			Extra: map[string]Secret{"zz": NewSecret("1.50"), "b": NewSecret(`[1, {"c": null}]`)},
		},
	} {
		if got, err := FormatTokenRecord(token); err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	if _, err := FormatTokenRecord(Token{Extra: map[string]Secret{"x": NewSecret(`{"cut`)}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("what is no JSON: %v", err)
	}
}
