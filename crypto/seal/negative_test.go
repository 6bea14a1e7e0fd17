package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"testing/cryptotest"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/envelope"
	"github.com/globus-keys/globus-keys/keystore"
)

const negativeFile = "testdata/negative.json"

// corpus is a store and what was put in the place of one of its records, by
// people who know its recipient, or are its recovery recipient ("co-recipient"),
// or can write its file.
type corpus struct {
	Identity string         `json:"identity"`
	Recovery string         `json:"recovery"` // identity of the recovery recipient
	Store    string         `json:"store"`
	Payload  string         `json:"payload"` // of every record that is accepted
	Cases    []negativeCase `json:"cases"`
}

type negativeCase struct {
	Comment   string `json:"comment"`
	Store     string `json:"store,omitempty"` // another than the corpus', as the reader believes
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Expect    string `json:"expect"`           // "accepted", "tampered", "no seal" or "corrupt"
	Verify    string `json:"verify,omitempty"` // the same, of both ways to read, where it differs
	Detail    string `json:"detail,omitempty"` // what the error of this program says
	Record    string `json:"record"`           // standard base64
}

func TestNegativeCorpus(t *testing.T) {
	if *update {
		writeJSON(t, negativeFile, makeCorpus(t))
	}
	var c corpus
	readJSON(t, negativeFile, &c)
	c.check(t)
}

// The corpus made anew must behave as the stored one: the code that attacks is
// tested too, and the file cannot lack a case.
func TestNegativeCorpusMadeAnew(t *testing.T) {
	var stored corpus
	readJSON(t, negativeFile, &stored)
	fresh := makeCorpus(t)
	if len(stored.Cases) != len(fresh.Cases) {
		t.Errorf("the file has %d cases, want %d", len(stored.Cases), len(fresh.Cases))
	}
	fresh.check(t)
}

func (c corpus) check(t *testing.T) {
	id, err := identity.Parse(c.Identity)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Cases {
		t.Run(n.Comment, func(t *testing.T) {
			store := c.Store
			if n.Store != "" {
				store = n.Store
			}
			s := newSealer(t, id, keystore.StoreID(fromHex(t, store)))
			k := keystore.RecordKey{Namespace: n.Namespace, Kind: keystore.Kind(n.Kind), Name: n.Name}
			record := fromBase64(t, n.Record)
			payload, err := s.Open(context.Background(), k, record)
			if got := class(t, k, err); got != n.Expect {
				t.Fatalf("Open is %s (%v), want %s", got, err, n.Expect)
			}
			if err == nil && string(payload) != c.Payload || err != nil && (payload != nil || !strings.Contains(err.Error(), n.Detail)) {
				t.Errorf("Open = %q, %v; want %q", payload, err, n.Detail)
			}
			want := n.Expect
			if n.Verify != "" {
				want = n.Verify
			}
			if got := class(t, k, s.Verify(context.Background(), k, record, id.AgeIdentity())); got != want {
				t.Errorf("Verify is %s, want %s", got, want)
			}
		})
	}
}

// scene is what the cases are made from.
type scene struct {
	t        *testing.T
	owner    *identity.Identity
	recovery *identity.Identity
	sealer   *Sealer
	record   []byte  // the honest record of testKey
	file     ageFile // the same, taken apart
	fileKey  []byte  // as the co-recipient learns it
}

func makeCorpus(t *testing.T) corpus {
	cryptotest.SetGlobalRandom(t, 42)
	s := scene{t: t, owner: newID(t, identity.New), recovery: newID(t, identity.New)}
	s.sealer = newSealer(t, s.owner, testStore, s.recovery.Recipient())
	s.record = sealed(t, s.sealer, testKey, testData)
	s.file = parseAge(t, s.record)
	s.fileKey = fileKeyOf(t, s.record, s.recovery.AgeIdentity())
	c := corpus{
		Identity: s.owner.Text().Reveal(),
		Recovery: s.recovery.Text().Reveal(),
		Store:    testStore.String(),
		Payload:  string(testData),
	}
	c.Cases = append(c.Cases, s.honest()...)
	c.Cases = append(c.Cases, s.unsealed()...)
	c.Cases = append(c.Cases, s.moved()...)
	c.Cases = append(c.Cases, s.byCoRecipient()...)
	c.Cases = append(c.Cases, s.sealStanza()...)
	c.Cases = append(c.Cases, s.notThisFormat()...)
	c.Cases = append(c.Cases, s.damaged()...)
	c.Cases = append(c.Cases, s.byKeyHolder()...)
	return c
}

func (s scene) negative(comment, expect, detail string, record []byte) negativeCase {
	return negativeCase{Comment: comment, Namespace: testKey.Namespace, Kind: string(testKey.Kind), Name: testKey.Name,
		Expect: expect, Detail: detail, Record: base64.StdEncoding.EncodeToString(record)}
}

func (s scene) honest() []negativeCase {
	grease := age.Stanza{Type: "x7q-grease", Args: []string{"j&", "4Kd"}, Body: []byte("grease")}
	greased := s.file.withStanzas(append([]age.Stanza{grease}, s.file.stanzas...)...)
	greasedAfter := s.file.withStanzas(append(s.file.stanzas[:3:3], grease)...)
	last := s.file.withStanzas(s.file.stanzas[1], s.file.stanzas[2], s.file.stanzas[0])
	return []negativeCase{
		s.negative("the honest record", "accepted", "", s.record),
		s.negative("a random stanza, as rage adds, before all", "accepted", "", greased.signed(s.t, s.fileKey)),
		s.negative("a random stanza after all", "accepted", "", greasedAfter.signed(s.t, s.fileKey)),
		s.negative("the seal is the last stanza", "accepted", "", last.signed(s.t, s.fileKey)),
		s.negative("a random stanza without the file key", "tampered", "header is changed", greased.bytes()),
	}
}

func (s scene) unsealed() []negativeCase {
	plaintext := s.file.plaintext(s.t, s.fileKey)
	fresh := s.ageEncrypted(plaintext, s.owner.Recipient())
	stripped := s.file.withStanzas(s.file.stanzas[1:]...).signed(s.t, s.fileKey)
	stranger := newSealer(s.t, newID(s.t, identity.New), testStore, s.owner.Recipient())
	return []negativeCase{
		s.negative("encrypted freshly to the same recipient", "no seal", "", fresh),
		s.negative("the seal is taken off by a co-recipient", "no seal", "", stripped),
		s.negative("encrypted to a passphrase", "no seal", "", s.passphrase(plaintext)),
		s.negative("sealed with a stranger's key, readable by the owner", "tampered", "another key", sealed(s.t, stranger, testKey, testData)),
	}
}

func (s scene) moved() []negativeCase {
	var cases []negativeCase
	for _, k := range []keystore.RecordKey{
		{Namespace: "OTHER", Kind: "token", Name: testKey.Name},
		{Namespace: "DEFAULT", Kind: "config", Name: testKey.Name},
		{Namespace: "DEFAULT", Kind: "token", Name: "example.org"},
		{Namespace: "DEFAULTtoken", Kind: "", Name: testKey.Name},
	} {
		c := s.negative("read as "+k.String(), "tampered", "does not open here", s.record)
		c.Namespace, c.Kind, c.Name = k.Namespace, string(k.Kind), k.Name
		cases = append(cases, c)
	}
	other := s.negative("read in another store", "tampered", "another key", s.record)
	other.Store = hex.EncodeToString(bytes.Repeat([]byte{7}, 16))
	rekeyed := sealed(s.t, newSealer(s.t, newID(s.t, s.owner.Next), testStore), testKey, testData)
	return append(cases, other, s.negative("sealed before the last rekey", "tampered", "another key", rekeyed))
}

func (s scene) byCoRecipient() []negativeCase {
	forged := envelope.Pack(testStore, testKey, []byte(`{"token":{"access_token":"attacker"}}`))
	rewritten := s.file.rewritten(s.t, s.fileKey, forged)
	otherKey := bytes.Repeat([]byte{9}, fileKeySize)
	reheaded := s.file.rewritten(s.t, otherKey, s.file.plaintext(s.t, s.fileKey))
	spoilt := s.file.withStanzas(s.file.stanzas[0], age.Stanza{Type: "X25519", Args: s.file.stanzas[1].Args, Body: make([]byte, 32)}, s.file.stanzas[2])
	harmless := s.negative("a co-recipient spoils the owner's stanza: the payload is authentic, the identity alone cannot read it", "accepted", "", spoilt.signed(s.t, s.fileKey))
	harmless.Verify = "tampered"
	return []negativeCase{
		s.negative("a co-recipient rewrites the payload under the same header", "tampered", "not what was sealed", rewritten.bytes()),
		s.negative("a co-recipient rewrites the payload under a new header", "tampered", "not what was sealed",
			rewritten.withStanzas(rewritten.stanzas[0], rewritten.stanzas[2]).signed(s.t, s.fileKey)),
		s.negative("a co-recipient re-heads the payload with a new file key", "tampered", "header is changed", reheaded.signed(s.t, otherKey)),
		harmless,
	}
}

func (s scene) sealStanza() []negativeCase {
	seal := s.file.stanzas[0]
	twice := s.file.withStanzas(append([]age.Stanza{seal}, s.file.stanzas...)...)
	foreign := parseAge(s.t, sealed(s.t, s.sealer, keystore.RecordKey{Namespace: "DEFAULT", Kind: "token", Name: "example.org"}, testData)).stanzas[0]
	older := parseAge(s.t, sealed(s.t, s.sealer, testKey, testData)).stanzas[0]
	with := func(comment, detail string, change func(*age.Stanza)) negativeCase {
		return s.negative(comment, "tampered", detail, s.file.withSeal(change).signed(s.t, s.fileKey))
	}
	return []negativeCase{
		s.negative("two seals, the same", "tampered", "two seals", twice.signed(s.t, s.fileKey)),
		s.negative("two seals, one of another record", "tampered", "two seals", s.file.withStanzas(append([]age.Stanza{foreign}, s.file.stanzas...)...).signed(s.t, s.fileKey)),
		with("the seal of another record", "does not open here", func(x *age.Stanza) { *x = foreign }),
		with("the seal of an older record of this place", "header is changed", func(x *age.Stanza) { *x = older }),
		with("no argument", "number of arguments", func(x *age.Stanza) { x.Args = nil }),
		with("one argument", "number of arguments", func(x *age.Stanza) { x.Args = x.Args[:1] }),
		with("three arguments", "number of arguments", func(x *age.Stanza) { x.Args = append(x.Args, "AA") }),
		with("another key id", "another key", func(x *age.Stanza) { x.Args[0] = "AAAAAA" }),
		with("a key id with padding", "another key", func(x *age.Stanza) { x.Args[0] += "==" }),
		with("a key id that is not canonical base64", "another key", func(x *age.Stanza) { x.Args[0] = lastDigitUp(x.Args[0]) }),
		with("another salt", "does not open here", func(x *age.Stanza) { x.Args[1] = "AAAAAAAAAAAAAAAAAAAAAA" }),
		with("a salt that is not canonical base64", "malformed salt", func(x *age.Stanza) { x.Args[1] = lastDigitUp(x.Args[1]) }),
		with("a salt with padding", "malformed salt", func(x *age.Stanza) { x.Args[1] += "==" }),
		with("a salt in the URL alphabet", "malformed salt", func(x *age.Stanza) { x.Args[1] = "-" + x.Args[1][1:] }),
		with("a salt of 15 bytes", "malformed salt", func(x *age.Stanza) { x.Args[1] = x.Args[1][:20] }),
		with("a salt of 18 bytes", "malformed salt", func(x *age.Stanza) { x.Args[1] = x.Args[1][:20] + "AAAA" }),
		with("a body of 63 bytes", "wrong length", func(x *age.Stanza) { x.Body = x.Body[:63] }),
		with("a body of 65 bytes", "wrong length", func(x *age.Stanza) { x.Body = append(x.Body, 0) }),
		with("an empty body", "wrong length", func(x *age.Stanza) { x.Body = nil }),
		with("a body without digest, as the file key alone would have", "wrong length", func(x *age.Stanza) { x.Body = x.Body[:32] }),
		with("a changed body", "does not open here", func(x *age.Stanza) { x.Body[0] ^= 1 }),
		s.negative("a type in another case", "no seal", "", s.file.withSeal(func(x *age.Stanza) { x.Type = strings.ToUpper(x.Type) }).signed(s.t, s.fileKey)),
		s.negative("a type of a later version", "no seal", "", s.file.withSeal(func(x *age.Stanza) { x.Type = strings.TrimSuffix(x.Type, "1") + "2" }).signed(s.t, s.fileKey)),
	}
}

// lastDigitUp sets a bit that base64's last digit does not use.
func lastDigitUp(text string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := strings.IndexByte(digits, text[len(text)-1])
	return text[:len(text)-1] + digits[last|1:][:1]
}

func (s scene) notThisFormat() []negativeCase {
	var armored bytes.Buffer
	w := armor.NewWriter(&armored)
	w.Write(s.record)
	w.Close()
	header, payload, _ := bytes.Cut(s.record, []byte("\n---"))
	crlf := append(bytes.ReplaceAll(header, []byte("\n"), []byte("\r\n")), "\r\n---"...)
	return []negativeCase{
		s.negative("nothing", "corrupt", "not an age file", nil),
		s.negative("JSON", "corrupt", "not an age file", testData),
		s.negative("armored", "corrupt", "not an age file", armored.Bytes()),
		s.negative("lines that end in CR LF", "corrupt", "not an age file", append(crlf, payload...)),
		s.negative("version 2 of age", "corrupt", "not an age file", bytes.Replace(s.record, []byte("/v1\n"), []byte("/v2\n"), 1)),
		s.negative("white space before", "corrupt", "not an age file", append([]byte("\n"), s.record...)),
		s.negative("no stanzas", "corrupt", "not an age file", s.file.withStanzas().signed(s.t, s.fileKey)),
		s.negative("a stanza body that is not canonical base64", "corrupt", "not an age file", s.bodyNotCanonical()),
		s.negative("a MAC of 31 bytes", "corrupt", "not an age file", bytes.Replace(s.record, base64Of(s.file.mac), base64Of(s.file.mac[:31]), 1)),
		s.negative("cut in the header", "corrupt", "not an age file", s.record[:len(header)/2]),
	}
}

// bodyNotCanonical changes unused bits of the seal's last line.
func (s scene) bodyNotCanonical() []byte {
	body := string(base64Of(s.file.stanzas[0].Body))
	return bytes.Replace(s.record, []byte(body[64:]), []byte(lastDigitUp(body[64:])), 1)
}

func base64Of(b []byte) []byte { return []byte(base64.RawStdEncoding.EncodeToString(b)) }

func (s scene) damaged() []negativeCase {
	flip := func(at int) []byte {
		changed := bytes.Clone(s.record)
		changed[at] ^= 1
		return changed
	}
	mac := bytes.Index(s.record, []byte("\n--- ")) + len("\n--- ")
	return []negativeCase{
		s.negative("cut after the header", "tampered", "cut short", s.record[:mac+44]),
		s.negative("cut by one byte", "tampered", "changed or cut short", s.record[:len(s.record)-1]),
		s.negative("a byte appended", "tampered", "changed or cut short", append(bytes.Clone(s.record), 0)),
		s.negative("two records in a row", "tampered", "changed or cut short", append(bytes.Clone(s.record), s.record...)),
		s.negative("a changed MAC", "tampered", "header is changed", flip(mac)),
		s.negative("a changed nonce", "tampered", "changed or cut short", flip(mac+44)),
		s.negative("a changed last byte", "tampered", "changed or cut short", flip(len(s.record)-1)),
	}
}

// byKeyHolder: what only a program with the key can write, and should not.
func (s scene) byKeyHolder() []negativeCase {
	honest := string(envelope.Pack(testStore, testKey, testData))
	text := strings.TrimRight(honest, " ")
	with := func(comment, detail, plaintext string) negativeCase {
		record, err := s.sealer.encrypt(context.Background(), testKey, []byte(plaintext))
		if err != nil {
			s.t.Fatal(err)
		}
		return s.negative("well sealed, but "+comment, "tampered", detail, record)
	}
	padded := func(text string) string { return text + strings.Repeat(" ", envelope.Padding(len(text))) }
	replaced := func(old, new string) string { return padded(strings.Replace(text, old, new, 1)) }
	return []negativeCase{
		with("empty", "does not name this place", ""),
		with("256 spaces", "wrongly padded", strings.Repeat(" ", 256)),
		with("not padded", "wrongly padded", text),
		with("one space short", "wrongly padded", honest[:len(honest)-1]),
		with("256 spaces more", "wrongly padded", honest+strings.Repeat(" ", 256)),
		with("padded with line feeds", "does not name this place", text+strings.Repeat("\n", envelope.Padding(len(text)))),
		with("padded with zero bytes", "does not name this place", text+strings.Repeat("\x00", envelope.Padding(len(text)))),
		with("version 2", "does not name this place", replaced(`"version":1`, `"version":2`)),
		with("with another name inside", "does not name this place", replaced("transfer.api", "transfer.apj")),
		with("with a key in another case", "does not name this place", replaced(`"name"`, `"Name"`)),
		with("with a key twice", "does not name this place", replaced(`"version":1,`, `"version":1,"version":1,`)),
		with("with a key more", "does not name this place", replaced(`"data"`, `"more":1,"data"`)),
		with("with a key after the payload", "not one JSON value", replaced(`}}}`, `}},"data":1}`)),
		with("with a name escaped otherwise", "does not name this place", replaced("transfer", `\u0074ransfer`)),
		with("with white space between", "does not name this place", replaced(`"version":1`, `"version": 1`)),
		with("with a payload that is not JSON", "not one JSON value", replaced(`"data":{`, `"data":x{`)),
		with("with a payload of broken UTF-8", "not one JSON value", replaced("AgExample", "\xff\xfe")),
		with("with no payload", "not one JSON value", replaced(string(testData), "")),
	}
}

func (s scene) ageEncrypted(plaintext []byte, to ...age.Recipient) []byte {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to...)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := w.Write(plaintext); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

func (s scene) passphrase(plaintext []byte) []byte {
	r, err := age.NewScryptRecipient("passphrase")
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetWorkFactor(1)
	return s.ageEncrypted(plaintext, r)
}
