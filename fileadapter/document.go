package fileadapter

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/globus-keys/globus-keys/internal/sealers"
	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	formatVersion = 1
	maxFile       = 64 << 20 // bytes of a store file: some 40,000 logins
)

// document is the content of a store file. Records stay as they were read,
// base64 and all, until one is asked for: a damaged record costs only itself.
// A document that was read never changes; a writer changes a clone.
type document struct {
	raw     []byte // the file it was read from
	header  keystore.Header
	records map[keystore.RecordKey]string // place -> base64 of the age file
}

// id is safe to ask of no document.
func (doc *document) id() (id keystore.StoreID) {
	if doc != nil {
		id = doc.header.StoreID
	}
	return id
}

func (doc *document) clone() *document {
	return &document{header: doc.header, records: maps.Clone(doc.records)}
}

// The file's JSON form; docs/format.md describes it.
type fileJSON struct {
	Version int          `json:"globus_keys"`
	Store   string       `json:"store"`
	Slots   []slotJSON   `json:"slots"`
	Records []recordJSON `json:"records"`
}

type slotJSON struct {
	Kind string `json:"kind"`
	Item string `json:"item,omitempty"` // of a keychain slot
	File string `json:"file,omitempty"` // of a passphrase slot
}

type recordJSON struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Age       string `json:"age"`
}

// sqliteMagic is how every SQLite database begins (sqlite.org/fileformat.html,
// section 1.3.1).
const sqliteMagic = "SQLite format 3\x00"

// errDatabase is the ErrInvalid of a database: nothing is wrong with it but the name.
var errDatabase = fmt.Errorf("%w", keystore.ErrInvalid)

var fieldNames = []string{"globus_keys", "store", "slots", "records", "kind", "item", "file", "namespace", "name", "age"}

func newDocument() *document {
	return &document{records: make(map[keystore.RecordKey]string)}
}

// parse reads a store file. Its errors are ErrCorrupt.
func parse(data []byte) (*document, error) {
	if err := strictjson.Check(data, fieldNames...); err != nil {
		return nil, corrupt(err.Error())
	}
	var file fileJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil || file.Version != formatVersion {
		return nil, whatElse(data)
	}
	doc, err := file.document()
	if err != nil {
		return nil, err
	}
	doc.raw = data
	return doc, nil
}

// whatElse says what a file is that is not of our format version.
func whatElse(data []byte) error {
	var file struct {
		Version int `json:"globus_keys"`
	}
	switch err := json.Unmarshal(data, &file); {
	case err != nil || file.Version == 0:
		return corrupt("it is not a globus-keys store file")
	case file.Version != formatVersion:
		return corrupt(fmt.Sprintf("it has format version %d; this program knows version %d", file.Version, formatVersion))
	}
	return corrupt("it does not have the fields of format version 1")
}

func (f fileJSON) document() (*document, error) {
	doc := newDocument()
	id, err := keystore.ParseStoreID(f.Store)
	if err != nil {
		return nil, err
	}
	doc.header.StoreID = id
	for _, s := range f.Slots {
		slot, err := s.slot()
		if err != nil {
			return nil, err
		}
		doc.header.Slots = append(doc.header.Slots, slot)
	}
	for _, r := range f.Records {
		key := keystore.RecordKey{Namespace: r.Namespace, Kind: keystore.Kind(r.Kind), Name: r.Name}
		if err := key.Check(); err != nil {
			return nil, corrupt("a record has an impossible name: " + err.Error())
		}
		if _, twice := doc.records[key]; twice {
			return nil, corrupt("it holds two records for " + key.String())
		}
		doc.records[key] = r.Age
	}
	return doc, nil
}

func (s slotJSON) slot() (keystore.Slot, error) {
	kind := keystore.SlotKind(s.Kind)
	switch {
	case kind == keystore.SlotKeychain && s.Item != "" && s.File == "":
		return keystore.Slot{Kind: kind, Name: s.Item}, nil
	case kind == keystore.SlotPassphrase && s.File != "" && s.Item == "":
		return keystore.Slot{Kind: kind, Name: s.File}, nil
	}
	return keystore.Slot{}, corrupt(fmt.Sprintf("it has a key slot of unknown kind %q", s.Kind))
}

// format writes what parse reads, records sorted by namespace, kind and name,
// one a line, so that the file can be looked at.
func (doc *document) format() ([]byte, error) {
	var b bytes.Buffer
	slots := make([]slotJSON, 0, len(doc.header.Slots))
	for _, s := range doc.header.Slots {
		slots = append(slots, formatSlot(s))
	}
	fmt.Fprintf(&b, "{\"globus_keys\": %d, \"store\": %q, \"slots\": ", formatVersion, doc.header.StoreID)
	if err := writeJSON(&b, slots); err != nil {
		return nil, err
	}
	b.WriteString(",\n \"records\": [")
	for i, key := range doc.sortedKeys() {
		b.WriteString([]string{"\n  ", ",\n  "}[min(i, 1)])
		if err := writeJSON(&b, recordJSON{key.Namespace, string(key.Kind), key.Name, doc.records[key]}); err != nil {
			return nil, err
		}
	}
	b.WriteString("]}\n")
	if b.Len() > maxFile {
		return nil, &keystore.Error{Err: keystore.ErrTooLarge,
			Detail: fmt.Sprintf("the file would have %d bytes, the limit is %d", b.Len(), maxFile)}
	}
	return b.Bytes(), nil
}

func formatSlot(s keystore.Slot) slotJSON {
	if s.Kind == keystore.SlotKeychain {
		return slotJSON{Kind: string(s.Kind), Item: s.Name}
	}
	return slotJSON{Kind: string(s.Kind), File: s.Name}
}

func writeJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // Encode's newline
	return nil
}

func (doc *document) sortedKeys() []keystore.RecordKey {
	keys := make([]keystore.RecordKey, 0, len(doc.records))
	for key := range doc.records {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b keystore.RecordKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// sealed returns the age file of k, and whether there is a record.
func (doc *document) sealed(k keystore.RecordKey) ([]byte, bool, error) {
	text, ok := doc.records[k]
	if !ok {
		return nil, false, nil
	}
	sealed, err := decode(text)
	return sealed, true, keystore.Annotate(err, keystore.Error{Key: k})
}

func decode(text string) ([]byte, error) {
	sealed, err := base64.StdEncoding.Strict().DecodeString(text)
	// DecodeString skips line breaks; a record has none.
	if err != nil || base64.StdEncoding.EncodedLen(len(sealed)) != len(text) {
		return nil, corrupt("it is not standard base64")
	}
	return sealed, nil
}

func decodeMeta(text string) ([]byte, error) {
	meta, err := decode(text)
	return meta, keystore.Annotate(err, keystore.Error{Key: keystore.MetaKey})
}

func (doc *document) set(k keystore.RecordKey, sealed []byte) {
	doc.records[k] = base64.StdEncoding.EncodeToString(sealed)
}

// state is what the choice of a Sealer depends on.
func (doc *document) state() sealers.State {
	return sealers.State{Header: doc.header, Meta: doc.records[keystore.MetaKey]}
}

func corrupt(detail string) error {
	return &keystore.Error{Err: keystore.ErrCorrupt, Detail: detail}
}
