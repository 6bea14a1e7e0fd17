package keychain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/globus-keys/globus-keys/internal/strictjson"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	indexVersion = 1
	maxIndex     = 4 << 20 // bytes of an index: 2,000 records with the longest names, 20,000 usual ones
	maxTime      = 253402300799
)

// index is the content of an index file. One that was read or written never
// changes; a writer changes a clone.
type index struct {
	raw     []byte          // the file it was read from
	header  keystore.Header // of the store, also of one that is only being made
	made    bool            // false: there is no store yet, and no record
	records map[keystore.RecordKey]generation
	pending []litter // may have been made by a writer who has not finished
	retired []litter // were a record's
}

// generation is the items of one state of one record.
type generation struct {
	name  string // 16 hexadecimal digits
	parts int    // how many items
}

// litter is a generation that no record has.
type litter struct {
	store keystore.StoreID // the index's own
	generation
	at int64 // Unix time from which on nobody needs it
}

func newIndex() *index { return &index{records: make(map[keystore.RecordKey]generation)} }

func (idx *index) clone() *index {
	return &index{
		header: idx.header, made: idx.made, records: maps.Clone(idx.records),
		pending: slices.Clone(idx.pending), retired: slices.Clone(idx.retired),
	}
}

// visible is the header that others see.
func (idx *index) visible() keystore.Header {
	if !idx.made {
		return keystore.Header{}
	}
	return keystore.Header{StoreID: idx.header.StoreID, Slots: slices.Clone(idx.header.Slots)}
}

// account returns the account of an item. Nothing of the record's name is in it:
// keychains fold case, join with colons and limit the length.
func (g generation) account(store keystore.StoreID, part int) string {
	return accountPrefix(store, recordKind) + g.name + "/" + strconv.Itoa(part)
}

// The file's JSON form; docs/format.md describes it.
type indexJSON struct {
	Version int          `json:"globus_keys_keychain"`
	Store   string       `json:"store"`
	Making  bool         `json:"making"`
	Slots   []slotJSON   `json:"slots"`
	Records []recordJSON `json:"records"`
	Pending []litterJSON `json:"pending"`
	Retired []litterJSON `json:"retired"`
}

type slotJSON struct {
	Kind string `json:"kind"`
	Item string `json:"item,omitempty"` // of a keychain slot
	File string `json:"file,omitempty"` // of a passphrase slot
}

type recordJSON struct {
	Namespace  string `json:"namespace"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Generation string `json:"generation"`
	Parts      int    `json:"parts"`
}

type litterJSON struct {
	Generation string `json:"generation"`
	Parts      int    `json:"parts"`
	At         int64  `json:"at"`
}

var indexFields = []string{"globus_keys_keychain", "store", "making", "slots", "records", "pending", "retired",
	"kind", "item", "file", "namespace", "name", "generation", "parts", "at"}

// parseIndex reads an index file. Its errors are ErrCorrupt.
func parseIndex(data []byte) (*index, error) {
	if err := strictjson.Check(data, indexFields...); err != nil {
		return nil, corrupt(err.Error())
	}
	var file indexJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil || file.Version != indexVersion || !file.whole() {
		return nil, whatElse(data)
	}
	idx, err := file.index()
	if err != nil {
		return nil, err
	}
	idx.raw = data
	return idx, nil
}

// whole reports whether no list is missing: a store that has lost them must not
// pass for an empty one.
func (f indexJSON) whole() bool {
	return f.Slots != nil && f.Records != nil && f.Pending != nil && f.Retired != nil
}

// whatElse says what a file is that is not of our format version.
func whatElse(data []byte) error {
	var file struct {
		Version int `json:"globus_keys_keychain"`
	}
	switch err := json.Unmarshal(data, &file); {
	case err != nil || file.Version == 0:
		return corrupt("it is not the index of a globus-keys keychain store")
	case file.Version != indexVersion:
		return corrupt(fmt.Sprintf("it has format version %d; this program knows version %d", file.Version, indexVersion))
	}
	return corrupt("it does not have the fields of format version 1")
}

func (f indexJSON) index() (*index, error) {
	idx := newIndex()
	id, err := keystore.ParseStoreID(f.Store)
	if err != nil {
		return nil, err
	}
	idx.header.StoreID, idx.made = id, !f.Making
	if f.Making && len(f.Slots)+len(f.Records)+len(f.Retired) > 0 {
		return nil, corrupt("it is of a store that is not made yet, and has content")
	}
	if idx.header.Slots, err = parseAll(f.Slots, slotJSON.slot); err != nil {
		return nil, err
	}
	if idx.pending, err = parseAll(f.Pending, func(l litterJSON) (litter, error) { return l.litter(id) }); err != nil {
		return nil, err
	}
	if idx.retired, err = parseAll(f.Retired, func(l litterJSON) (litter, error) { return l.litter(id) }); err != nil {
		return nil, err
	}
	for _, r := range f.Records {
		if err := idx.add(r); err != nil {
			return nil, err
		}
	}
	return idx, nil
}

// parseAll returns what parse makes of all; nil of nothing.
func parseAll[J, T any](all []J, parse func(J) (T, error)) (parsed []T, err error) {
	for _, j := range all {
		t, err := parse(j)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, t)
	}
	return parsed, nil
}

func (s slotJSON) slot() (keystore.Slot, error) {
	slot := keystore.Slot{Kind: keystore.SlotKind(s.Kind), Name: s.Item + s.File}
	if slot.Name == "" || s != formatSlot(slot) {
		return slot, corrupt(fmt.Sprintf("it has a key slot of unknown kind %q", s.Kind))
	}
	return slot, nil
}

func formatSlot(s keystore.Slot) slotJSON {
	switch s.Kind {
	case keystore.SlotKeychain:
		return slotJSON{Kind: string(s.Kind), Item: s.Name}
	case keystore.SlotPassphrase:
		return slotJSON{Kind: string(s.Kind), File: s.Name}
	}
	return slotJSON{}
}

func (idx *index) add(r recordJSON) (err error) {
	key := keystore.RecordKey{Namespace: r.Namespace, Kind: keystore.Kind(r.Kind), Name: r.Name}
	if err := key.Check(); err != nil {
		return corrupt("a record has an impossible name: " + err.Error())
	}
	if _, twice := idx.records[key]; twice {
		return corrupt("it holds two records for " + key.String())
	}
	idx.records[key], err = parseGeneration(r.Generation, r.Parts)
	return err
}

// litter reads an entry of the index of store. It names no store: an index can
// have no items deleted but its own.
func (l litterJSON) litter(store keystore.StoreID) (litter, error) {
	g, err := parseGeneration(l.Generation, l.Parts)
	if err == nil && (l.At < 0 || l.At > maxTime) {
		err = corrupt("it has an impossible time")
	}
	return litter{store, g, l.At}, err
}

func parseGeneration(name string, parts int) (generation, error) {
	if !isRandom(name) || parts < 1 || parts > maxParts {
		return generation{}, corrupt("it names items that no record can have")
	}
	return generation{name, parts}, nil
}

// format writes what parseIndex reads, one record a line, so that the file can
// be looked at.
func (idx *index) format() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"globus_keys_keychain\": %d, \"store\": %q, ", indexVersion, idx.header.StoreID)
	if !idx.made {
		b.WriteString("\"making\": true, ")
	}
	slots := make([]slotJSON, 0, len(idx.header.Slots))
	for _, s := range idx.visible().Slots {
		slots = append(slots, formatSlot(s))
	}
	b.WriteString("\"slots\": ")
	writeJSON(&b, slots)
	writeLines(&b, "records", sortedKeys(idx.records), func(k keystore.RecordKey) any {
		return recordJSON{k.Namespace, string(k.Kind), k.Name, idx.records[k].name, idx.records[k].parts}
	})
	writeLines(&b, "pending", idx.pending, func(l litter) any { return l.json() })
	writeLines(&b, "retired", idx.retired, func(l litter) any { return l.json() })
	b.WriteString("}\n")
	if b.Len() > maxIndex {
		return nil, &keystore.Error{Err: keystore.ErrTooLarge, Detail: fmt.Sprintf(
			"the index would have %d bytes, the limit is %d: keep this many records in a file store, --store file:PATH",
			b.Len(), maxIndex)}
	}
	return b.Bytes(), nil
}

func (l litter) json() litterJSON {
	return litterJSON{Generation: l.name, Parts: l.parts, At: l.at}
}

func writeLines[T any](b *bytes.Buffer, field string, all []T, form func(T) any) {
	fmt.Fprintf(b, ",\n \"%s\": [", field)
	for i, t := range all {
		b.WriteString([]string{"\n  ", ",\n  "}[min(i, 1)])
		writeJSON(b, form(t))
	}
	b.WriteString("]")
}

// writeJSON writes structs of strings and numbers, which all have a JSON form.
func writeJSON(b *bytes.Buffer, v any) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("keychain: the index has no JSON form: " + err.Error())
	}
	b.Truncate(b.Len() - 1) // Encode's newline
}

func sortedKeys[T any](m map[keystore.RecordKey]T) []keystore.RecordKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b keystore.RecordKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}
