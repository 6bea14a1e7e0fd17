package seal

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/cryptotest"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/keystore"
)

var update = flag.Bool("update", false, "write testdata anew")

const vectorsFile = "testdata/vectors.json"

// vector is one record with everything that is computed on the way to it.
// Bytes are in hexadecimal unless said otherwise.
type vector struct {
	Comment string `json:"comment"`

	Identity      string   `json:"identity"`       // as the identity file has it
	IdentityType  string   `json:"identity_type"`  //
	IdentityBytes string   `json:"identity_bytes"` // what Bech32 encodes
	Seed          string   `json:"seed"`           // clamped, for X25519
	Store         string   `json:"store"`
	SealKey       string   `json:"seal_key"` // K
	KeyID         string   `json:"key_id"`
	Recovery      []string `json:"recovery,omitempty"` // identities of the recovery recipients

	Namespace      string `json:"namespace"`
	Kind           string `json:"kind"`
	Name           string `json:"name"`
	Payload        string `json:"payload,omitempty"`         // text
	PayloadLetters int    `json:"payload_letters,omitempty"` // instead: a JSON string of so many letters x

	RandomSeed      uint64 `json:"random_seed"` // of testing/cryptotest, for the exact bytes
	Context         string `json:"context"`     // PAE of the place
	Tag             string `json:"tag"`         // that stands for the names where they are hidden
	Salt            string `json:"salt"`
	WrapKey         string `json:"wrap_key"`
	FileKey         string `json:"file_key"`
	SealBody        string `json:"seal_body"`
	Plaintext       string `json:"plaintext,omitempty"` // text
	PlaintextSize   int    `json:"plaintext_size"`
	PlaintextSHA256 string `json:"plaintext_sha256"`
	Record          string `json:"record,omitempty"` // standard base64
	RecordSHA256    string `json:"record_sha256"`
}

func (v vector) key() keystore.RecordKey {
	return keystore.RecordKey{Namespace: v.Namespace, Kind: keystore.Kind(v.Kind), Name: v.Name}
}

func (v vector) payload() []byte {
	if v.PayloadLetters > 0 {
		return []byte(`"` + strings.Repeat("x", v.PayloadLetters) + `"`)
	}
	return []byte(v.Payload)
}

// vectorInputs are what the vectors are made from; -update fills in the rest.
var vectorInputs = []struct {
	vector
	postQuantum bool
	recovery    int
}{
	{vector: vector{Comment: "a token", Namespace: "DEFAULT", Kind: "token", Name: "transfer.api.globus.org",
		Payload: `{"issuer":"https://auth.globus.org","client_id":"00000000-0000-0000-0000-000000000000","token":{"access_token":"AgExample","resource_server":"transfer.api.globus.org"}}`}},
	{vector: vector{Comment: "a meta record: no namespace", Kind: "meta", Name: "store", Payload: `{"recipients":[]}`}},
	{vector: vector{Comment: "one recovery recipient", Namespace: "DEFAULT", Kind: "token", Name: "auth.globus.org", Payload: `{"token":{"access_token":"AgExample"}}`}, recovery: 1},
	{vector: vector{Comment: "post-quantum", Namespace: "DEFAULT", Kind: "token", Name: "auth.globus.org", Payload: `{"token":{"access_token":"AgExample"}}`}, postQuantum: true, recovery: 1},
	{vector: vector{Comment: "names that JSON escapes, and others that it does not", Namespace: "Zürich <&> \"1\" \\",
		Kind: "config", Name: "日本 \u2028\u2029 🙂 é e\u0301", Payload: ` { "é" : "\u00e9" } `}},
	{vector: vector{Comment: "no padding: the plaintext has 256 bytes without it", Namespace: "DEFAULT", Kind: "pending", Name: "x", PayloadLetters: 132}},
	{vector: vector{Comment: "the largest: names of 512 bytes that JSON doubles, a payload of 60 KiB", Namespace: strings.Repeat(`"`, 512), Kind: "account",
		Name: strings.Repeat(`\`, 512), PayloadLetters: keystore.MaxPayload - 2}},
}

func TestVectors(t *testing.T) {
	if *update {
		writeJSON(t, vectorsFile, makeVectors(t))
	}
	var vectors []vector
	readJSON(t, vectorsFile, &vectors)
	if len(vectors) != len(vectorInputs) {
		t.Fatalf("%d vectors, want %d", len(vectors), len(vectorInputs))
	}
	for _, v := range vectors {
		t.Run(v.Comment, func(t *testing.T) {
			s, native := v.sealer(t)
			cryptotest.SetGlobalRandom(t, v.RandomSeed)
			record := sealed(t, s, v.key(), v.payload())
			if sha256Hex(record) != v.RecordSHA256 || v.Record != "" && v.Record != base64.StdEncoding.EncodeToString(record) {
				t.Error("sealing with the same randomness gives another record")
			}
			if v.Record != "" {
				record = fromBase64(t, v.Record)
			}
			got, err := s.Open(context.Background(), v.key(), record)
			if err != nil || !bytes.Equal(got, v.payload()) {
				t.Errorf("Open: %v", err)
			}
			if err := s.Verify(context.Background(), v.key(), record, native); err != nil {
				t.Errorf("Verify: %v", err)
			}
			recompute(t, v, record, native)
		})
	}
}

func (v vector) sealer(t *testing.T) (*Sealer, age.Identity) {
	t.Helper()
	id, err := identity.Parse(v.Identity)
	if err != nil {
		t.Fatal(err)
	}
	var recovery []age.Recipient
	for _, text := range v.Recovery {
		r, err := identity.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		recovery = append(recovery, r.Recipient())
	}
	return newSealer(t, id, keystore.StoreID(fromHex(t, v.Store)), recovery...), id.AgeIdentity()
}

// recompute is a second reader, written from docs/format.md with nothing but
// the primitives: each value on the way must be the vector's.
func recompute(t *testing.T, v vector, record []byte, native age.Identity) {
	t.Helper()
	check := func(what string, got []byte, want string) {
		t.Helper()
		if hex.EncodeToString(got) != want {
			t.Errorf("%s is %x, want %s", what, got, want)
		}
	}
	seed := fromHex(t, v.IdentityBytes)
	if v.IdentityType == "X25519" {
		seed[0] &= 0b11111000
		seed[31] = seed[31]&0b01111111 | 0b01000000
	}
	check("seed", seed, v.Seed)

	store := fromHex(t, v.Store)
	okm, err := hkdf.Key(sha256.New, seed, store, "globus-keys/v1/seal-key\x00"+v.IdentityType, 36)
	if err != nil {
		t.Fatal(err)
	}
	check("K", okm[:32], v.SealKey)
	check("key id", okm[32:], v.KeyID)

	place := binary.LittleEndian.AppendUint64(nil, 6)
	for _, part := range []string{"record", string(store), v.Namespace, v.Kind, v.Name, "1"} {
		place = binary.LittleEndian.AppendUint64(place, uint64(len(part)))
		place = append(place, part...)
	}
	check("context", place, v.Context)

	zero := hkdfKey(t, okm[:32], make([]byte, 16), "globus-keys/v1/seal\x00"+string(place))
	check("tag", hkdfKey(t, zero, nil, "globus-keys/v1/name"), v.Tag)

	f := parseAge(t, record)
	seal := f.stanzas[0]
	if seal.Type != "github.com/globus-keys/globus-keys/seal1" || len(seal.Args) != 2 || len(seal.Args[0]) != 6 || len(seal.Args[1]) != 22 {
		t.Fatalf("the first stanza is %s %q", seal.Type, seal.Args)
	}
	if want := 2 + len(v.Recovery); len(f.stanzas) != want {
		t.Errorf("there are %d stanzas, want %d", len(f.stanzas), want)
	}
	check("key id of the stanza", decode64(t, seal.Args[0]), v.KeyID)
	check("salt", decode64(t, seal.Args[1]), v.Salt)
	check("body", seal.Body, v.SealBody)

	wk := hkdfKey(t, okm[:32], decode64(t, seal.Args[1]), "globus-keys/v1/seal\x00"+string(place))
	check("wrap key", wk, v.WrapKey)
	aead, err := chacha20poly1305.New(wk)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := aead.Open(nil, make([]byte, 12), seal.Body, nil)
	if err != nil {
		t.Fatal(err)
	}
	check("file key in the seal", secret[:16], v.FileKey)
	check("file key of the other stanza", fileKeyOf(t, record, native), v.FileKey)
	check("digest in the seal", secret[16:], v.PlaintextSHA256)

	plaintext := f.plaintext(t, secret[:16])
	if sha256Hex(plaintext) != v.PlaintextSHA256 || len(plaintext) != v.PlaintextSize || v.Plaintext != "" && v.Plaintext != string(plaintext) {
		t.Error("the plaintext is another")
	}
	if !bytes.Equal(f.signed(t, secret[:16]), record) {
		t.Error("the header's MAC is not that of the file key")
	}
}

func makeVectors(t *testing.T) []vector {
	var vectors []vector
	for i, in := range vectorInputs {
		v := in.vector
		v.RandomSeed = uint64(i + 1)
		make := identity.New
		if in.postQuantum {
			make = identity.NewPostQuantum
		}
		cryptotest.SetGlobalRandom(t, 1000+v.RandomSeed)
		id := newID(t, make)
		for range in.recovery {
			v.Recovery = append(v.Recovery, newID(t, make).Text().Reveal())
		}
		v.Identity, v.IdentityType = id.Text().Reveal(), id.Type()
		store := sha256.Sum256([]byte(v.Comment))
		v.Store = hex.EncodeToString(store[:16])
		s, native := v.sealer(t)
		cryptotest.SetGlobalRandom(t, v.RandomSeed)
		v.fill(t, s, sealed(t, s, v.key(), v.payload()), native)
		vectors = append(vectors, v)
	}
	return vectors
}

// fill takes the intermediate values from the code under test; recompute then
// holds them against the description.
func (v *vector) fill(t *testing.T, s *Sealer, record []byte, native age.Identity) {
	id, err := identity.Parse(v.Identity)
	if err != nil {
		t.Fatal(err)
	}
	seed := id.Seed()
	v.IdentityBytes = hex.EncodeToString(rawBytes(t, v.Identity))
	v.Seed = hex.EncodeToString(seed[:])
	v.SealKey = hex.EncodeToString([]byte(s.holder.(inHand).Secret.Reveal()))
	v.KeyID = hex.EncodeToString(s.public.ID[:])
	place := placeOf(s.public.Store, v.key())
	v.Context = hex.EncodeToString([]byte(place))
	tag, err := s.Blind(context.Background(), v.key())
	if err != nil {
		t.Fatal(err)
	}
	v.Tag = hex.EncodeToString(tag[:])
	f := parseAge(t, record)
	salt := decode64(t, f.stanzas[0].Args[1])
	fileKey := fileKeyOf(t, record, native)
	v.Salt = hex.EncodeToString(salt)
	v.WrapKey = hex.EncodeToString([]byte(WrapKey([]byte(s.holder.(inHand).Secret.Reveal()), s.public.Store, v.key(), Salt(salt)).Reveal()))
	v.FileKey = hex.EncodeToString(fileKey)
	v.SealBody = hex.EncodeToString(f.stanzas[0].Body)
	plaintext := f.plaintext(t, fileKey)
	v.PlaintextSize, v.PlaintextSHA256 = len(plaintext), sha256Hex(plaintext)
	v.RecordSHA256 = sha256Hex(record)
	if v.PayloadLetters == 0 {
		v.Plaintext, v.Record = string(plaintext), base64.StdEncoding.EncodeToString(record)
	}
}

// rawBytes is what the Bech32 text encodes, checksum unseen.
func rawBytes(t *testing.T, text string) []byte {
	t.Helper()
	digits := text[strings.LastIndexByte(text, '1')+1 : len(text)-6]
	var bits strings.Builder
	for _, d := range []byte(digits) {
		v := strings.IndexByte("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", d)
		for shift := 4; shift >= 0; shift-- {
			bits.WriteByte('0' + byte(v>>shift&1))
		}
	}
	out := make([]byte, 32)
	for i := range out {
		for _, b := range []byte(bits.String()[8*i : 8*i+8]) {
			out[i] = out[i]<<1 | (b - '0')
		}
	}
	return out
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fromBase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
