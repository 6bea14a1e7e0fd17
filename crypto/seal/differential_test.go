package seal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/envelope"
	"github.com/globus-keys/globus-keys/keystore"
)

var olderData = []byte(`{"token":{"access_token":"AgOlder"}}`)

// oracle holds Open against age on one record of unknown content, put in the
// place of testKey by who does not have the store's identity:
//
//   - what Open accepts, age.Decrypt with the native identity reads too, as the
//     same plaintext, and it is a payload that was sealed there: the current one
//     or, as no seal can tell, an older;
//   - Open says ErrCorrupt exactly where age cannot read the header.
func oracle(t testing.TB, v variant, record []byte) bool {
	t.Helper()
	payload, err := v.sealer.Open(context.Background(), testKey, record)
	_, headerErr := age.ExtractHeader(bytes.NewReader(record))
	if corrupt := errors.Is(err, keystore.ErrCorrupt); corrupt != (headerErr != nil || len(record) > MaxRecord) {
		t.Fatalf("Open: %v; age reads the header: %v\n%q", err, headerErr, record)
	}
	if err != nil {
		return false
	}
	if !bytes.Equal(payload, testData) && !bytes.Equal(payload, olderData) {
		t.Fatalf("Open accepts %q\n%q", payload, record)
	}
	r, err := age.Decrypt(bytes.NewReader(record), v.id.AgeIdentity())
	if err != nil {
		t.Fatalf("Open accepts what age refuses: %v\n%q", err, record)
	}
	plaintext, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(plaintext, envelope.Pack(testStore, testKey, payload)) {
		t.Fatalf("Open = %q, age = %q, %v\n%q", payload, plaintext, err, record)
	}
	return true
}

const perRecord = 50 // mutations of one record, before the next variant's turn

// GLOBUS_KEYS_DIFFERENTIAL=1000000 is the long run.
func TestOpenAgreesWithAgeOnMutatedRecords(t *testing.T) {
	n := 2000
	if text := os.Getenv("GLOBUS_KEYS_DIFFERENTIAL"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	m := mutator{rand: rand.New(rand.NewPCG(seed, 0))}
	all := variants(t)
	accepted := 0
	var record, other []byte
	for i := range n {
		v := all[i/perRecord%len(all)]
		if i%perRecord == 0 {
			record, other = sealedTwice(t, v)
		}
		if oracle(t, v, m.mutate(record, other)) {
			accepted++
		}
	}
	t.Logf("seed %d: %d of %d mutated records accepted (mutations that change nothing)", seed, accepted, n)
	if accepted == n {
		t.Error("no mutation changed anything")
	}
}

func sealedTwice(t testing.TB, v variant) (record, other []byte) {
	return sealed(t, v.sealer, testKey, testData), sealed(t, v.sealer, testKey, olderData)
}

// mutator changes records as files get changed, and as a parser's enemy would.
type mutator struct{ rand *rand.Rand }

func (m mutator) mutate(record, other []byte) []byte {
	record = bytes.Clone(record)
	for range 1 + m.rand.IntN(3) {
		record = m.once(record, other)
	}
	return record
}

func (m mutator) once(record, other []byte) []byte {
	if len(record) == 0 {
		return record
	}
	i, j := m.rand.IntN(len(record)), m.rand.IntN(len(record))
	i, j = min(i, j), max(i, j)
	switch m.rand.IntN(9) {
	case 0: // a bit
		record[i] ^= 1 << m.rand.IntN(8)
	case 1: // a byte
		record[i] = byte(m.rand.Uint32())
	case 2: // a piece is lost
		return append(record[:i:i], record[j:]...)
	case 3: // a piece is doubled
		return append(record[:j:j], record[i:]...)
	case 4: // a character that parsers care for
		const special = "\n\r \t=-->+/\x00A"
		return append(append(record[:i:i], special[m.rand.IntN(len(special))]), record[i:]...)
	case 5: // the head of one, the tail of another
		return append(record[:i:i], other[min(i, len(other)):]...)
	case 6, 7: // a line is moved, lost or doubled
		return m.line(record)
	case 8: // a line of another record
		return m.graft(record, other)
	}
	return record
}

func (m mutator) line(record []byte) []byte {
	lines := strings.SplitAfter(string(record), "\n")
	i, j := m.rand.IntN(len(lines)), m.rand.IntN(len(lines))
	switch m.rand.IntN(3) {
	case 0:
		lines[i], lines[j] = lines[j], lines[i]
	case 1:
		lines[i] = ""
	case 2:
		lines[i] += lines[i]
	}
	return []byte(strings.Join(lines, ""))
}

func (m mutator) graft(record, other []byte) []byte {
	lines, others := strings.SplitAfter(string(record), "\n"), strings.SplitAfter(string(other), "\n")
	i := m.rand.IntN(len(lines))
	lines[i] = others[min(i, len(others)-1)]
	return []byte(strings.Join(lines, ""))
}

// A co-recipient knows the file key, so that his changes pass the header's MAC.
// He can spoil records, but not make one that says what its owner never said.
func TestAMutatingCoRecipientForgesNothing(t *testing.T) {
	seed := rand.Uint64()
	m := mutator{rand: rand.New(rand.NewPCG(seed, 0))}
	v := variants(t)[1]
	classes := make(map[string]int)
	for range 2000 {
		record, other := sealedTwice(t, v)
		fileKey := fileKeyOf(t, record, v.recovery.AgeIdentity())
		f := m.stanzas(parseAge(t, record), parseAge(t, other))
		payload, err := v.sealer.Open(context.Background(), testKey, f.signed(t, fileKey))
		classes[class(t, testKey, err)]++
		if err == nil && !bytes.Equal(payload, testData) {
			t.Fatalf("seed %d: Open accepts %q\n%q", seed, payload, f.signed(t, fileKey))
		}
	}
	t.Logf("seed %d: %v", seed, classes)
	if classes["accepted"] == 0 || classes["tampered"] == 0 || classes["no seal"] == 0 {
		t.Errorf("the mutations do not reach every class: %v", classes)
	}
}

func (m mutator) stanzas(f, other ageFile) ageFile {
	stanzas := append([]age.Stanza(nil), f.stanzas...)
	i, j := m.rand.IntN(len(stanzas)), m.rand.IntN(len(stanzas))
	switch m.rand.IntN(5) {
	case 0:
		stanzas[i], stanzas[j] = stanzas[j], stanzas[i]
	case 1:
		stanzas = append(stanzas[:i], stanzas[i+1:]...)
	case 2:
		stanzas = append(stanzas, stanzas[i])
	case 3:
		stanzas[i] = other.stanzas[m.rand.IntN(len(other.stanzas))]
	case 4:
		stanzas[i].Body = bytes.Clone(stanzas[i].Body)
		stanzas[i].Body[m.rand.IntN(len(stanzas[i].Body))] ^= 1 << m.rand.IntN(8)
	}
	return f.withStanzas(stanzas...)
}

// The seeds are those records of the negative corpus that an outsider can make,
// and mutations of them.
func FuzzSealedRecord(f *testing.F) {
	var c corpus
	readJSON(f, negativeFile, &c)
	id, err := identity.Parse(c.Identity)
	if err != nil {
		f.Fatal(err)
	}
	v := variant{name: "corpus", id: id, sealer: newSealer(f, id, testStore)}
	m := mutator{rand: rand.New(rand.NewPCG(1, 0))}
	honest := fromBase64(f, c.Cases[0].Record)
	for _, n := range c.Cases {
		if n.Verify == "" {
			f.Add(fromBase64(f, n.Record))
			f.Add(m.mutate(honest, fromBase64(f, n.Record)))
		}
	}
	f.Fuzz(func(t *testing.T, record []byte) { oracle(t, v, record) })
}
