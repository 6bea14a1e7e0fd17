package keystore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
)

// Content is what one namespace of another program's file holds.
type Content struct {
	Namespace string
	Account   Account
	Tokens    []Token
	Configs   map[string]Secret // JSON texts

	// Assumed says that the file does not name Account.Issuer, which is that of
	// most such files. It counts for nothing where the store knows another.
	Assumed bool

	// AssumedClient says the same of Account.ClientID, which is a client that the file
	// names beside its logins. A stored login with the refresh token knows better.
	AssumedClient bool
}

// Outcome is what became of one record of an import.
type Outcome string

const (
	Imported  Outcome = "imported"  // there was none
	Replaced  Outcome = "replaced"  // the new one was better, or the caller insisted
	Completed Outcome = "completed" // the store had the login; the file knew more of it
	Unchanged Outcome = "unchanged" // the store holds the same
	Kept      Outcome = "kept"      // the stored one stays, and differs; Reason says why
)

// ImportResult tells of one record.
type ImportResult struct {
	Key     RecordKey
	Outcome Outcome
	Reason  string

	// Newer says of a token that was kept that the file's expires later, or that
	// the stored one cannot be read: somebody may want the file's.
	Newer bool

	// Damage is why the stored record cannot be read, if that is why it was kept.
	Damage error
}

// Import stores the contents of another program's file, in the namespaces they
// name, all or none. A stored token gives way only to one of the same account
// with a later expiry, a stored configuration value to none, unless overwrite
// is set; what stays is reported as Kept.
//
// ErrSubjectMismatch if the file's login is another account's than a
// namespace's; with overwrite only if records of the old account would remain
// beside it.
func (s *Store) Import(ctx context.Context, contents []Content, overwrite bool) ([]ImportResult, error) {
	var results []ImportResult
	err := s.update(ctx, "import", func(w Writer, warn func(error)) error {
		results = nil
		for _, c := range contents {
			if err := checkName("namespace", c.Namespace); err != nil {
				return err // In would take "" for the default
			}
			i := importer{Store: s.In(c.Namespace), w: w, overwrite: overwrite}
			if err := i.content(c, warn); err != nil {
				return err
			}
			results = append(results, i.results...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Holds reads back what Import was given, and reports ErrNotFound for the
// first record that the store does not hold as it was.
func (s *Store) Holds(ctx context.Context, contents []Content) error {
	err := s.adapter.View(ctx, func(r Reader) error {
		for _, c := range contents {
			if err := s.In(c.Namespace).holds(r, c); err != nil {
				return err
			}
		}
		return nil
	})
	return annotate(err, "read back", RecordKey{})
}

func (s *Store) holds(r Reader, c Content) error {
	for _, t := range c.Tokens {
		key := s.token(t.ResourceServer)
		got, err := getToken(r, key)
		if err != nil {
			return err
		}
		// The store may hold more than the file says, but not less.
		if !equal(key, got, t.of(c.said()).renewed(got)) {
			return &Error{Key: key, Err: ErrNotFound, Detail: "the store holds another login"}
		}
	}
	for name, text := range c.Configs {
		key := s.config(name)
		want, err := encodeConfig(key, rawJSON(text.Reveal()))
		if err != nil {
			return annotate(err, "", key)
		}
		got, err := r.Get(key)
		if err != nil {
			return annotate(err, "", key)
		}
		if !bytes.Equal(got, want) {
			return &Error{Key: key, Err: ErrNotFound, Detail: "the store holds another value"}
		}
	}
	return nil
}

// said is what the file itself says of the account.
func (c Content) said() Account {
	a := c.Account
	if c.Assumed {
		a.Issuer = ""
	}
	if c.AssumedClient {
		a.ClientID = ""
	}
	return a
}

// beside is the account, as a token of the file has it whose stored one is prev.
func (c Content) beside(prev, t Token) Account {
	a := c.unless(prev.Issuer)
	if c.AssumedClient && !t.RefreshToken.IsZero() && t.RefreshToken.Equal(prev.RefreshToken) {
		a.ClientID = either(prev.ClientID, a.ClientID)
	}
	return a
}

// unless is the account, of which nothing is assumed that contradicts this issuer.
func (c Content) unless(issuer string) Account {
	if same(c.Account.Issuer, issuer) {
		return c.Account
	}
	return c.said()
}

// importer carries one namespace's content into one Update.
type importer struct {
	*Store
	w         Writer
	overwrite bool
	results   []ImportResult
}

func (i *importer) content(c Content, warn func(error)) error {
	if err := i.assume(&c); err != nil {
		return err
	}
	response := TokenResponse{Tokens: c.Tokens, Account: c.Account}
	if err := response.check(); err != nil {
		return err
	}
	subject, err := response.subject()
	if err != nil {
		return err
	}
	claim, err := i.admit(i.w, response)
	if errors.Is(err, ErrSubjectMismatch) && i.overwrite {
		if err = i.displace(response); err == nil {
			claim, err = i.admit(i.w, response)
		}
	}
	if err != nil {
		return err
	}
	if c.AssumedClient {
		claim.next.ClientID = either(claim.stored.ClientID, claim.next.ClientID)
	}
	for _, t := range c.Tokens {
		if err := i.importToken(c, t, claim.stored.Subject, subject); err != nil {
			return err
		}
	}
	if i.taken() {
		if err := i.record(i.w, warn, claim); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Configs)) {
		if err := i.importConfig(name, c.Configs[name]); err != nil {
			return err
		}
	}
	return nil
}

// assume drops an issuer that is only assumed if the namespace is of another, unless
// the caller insists.
func (i *importer) assume(c *Content) error {
	c.Assumed = c.Assumed && !i.overwrite
	a, err := getAccount(i.w, i.account())
	if err != nil && !unreadable(err) && !errors.Is(err, ErrNotFound) {
		return err
	}
	c.Account = c.unless(a.Issuer)
	return nil
}

// taken reports whether a token of the file is in the store now. A file whose
// tokens were all kept out says nothing of the namespace's account.
func (i *importer) taken() bool {
	return len(i.results) == 0 || slices.ContainsFunc(i.results, func(r ImportResult) bool { return r.Outcome != Kept })
}

// displace makes room for another account's login, unless something of the old
// account would remain beside it.
func (i *importer) displace(response TokenResponse) error {
	covered := make(map[string]bool)
	for _, t := range response.Tokens {
		covered[t.ResourceServer] = true
	}
	for key, err := range i.w.Keys(KindToken, i.namespace) {
		if err != nil {
			return err
		}
		if !covered[key.Name] {
			return &Error{Key: key, Err: ErrSubjectMismatch,
				Detail: "it would remain beside another account's login"}
		}
	}
	return i.w.Delete(i.account())
}

func (i *importer) importToken(c Content, t Token, owner, subject string) error {
	key := i.token(t.ResourceServer)
	prev, err := getToken(i.w, key)
	t = t.of(c.beside(prev, t))
	if c.Assumed && t.Issuer == "" {
		subject = "" // it is unique at its issuer only
	}
	outcome, reason := Replaced, ""
	switch {
	case errors.Is(err, ErrNotFound):
		outcome = Imported
	case unreadable(err) && !i.overwrite:
		i.keepDamaged(key, err)
		return nil
	case unreadable(err):
	case err != nil:
		return err
	case sameLogin(prev, t) && (!i.overwrite || equal(key, prev, t.renewed(prev))):
		return i.learn(prev, t)
	case i.overwrite:
	case !sameAccount(prev, t, either(prev.IdentityID, owner), subject):
		outcome, reason = Kept, "nothing shows that the stored login is the same account's"
	case !t.ExpiresAt.After(prev.ExpiresAt):
		outcome, reason = Kept, "the stored token does not expire earlier"
	default:
		t = t.renewed(prev)
	}
	newer := outcome == Kept && t.ExpiresAt.After(prev.ExpiresAt)
	i.results = append(i.results, ImportResult{Key: key, Outcome: outcome, Reason: reason, Newer: newer})
	if outcome == Kept {
		return nil
	}
	return i.putToken(i.w, t)
}

// learn adds to the stored token what only the file says of the same login.
func (i *importer) learn(stored, t Token) error {
	key, more := i.token(t.ResourceServer), stored.completed(t)
	if equal(key, stored, more) {
		i.tell(key, Unchanged, "")
		return nil
	}
	i.tell(key, Completed, "")
	return i.putToken(i.w, more)
}

func (i *importer) importConfig(name string, text Secret) error {
	key := i.config(name)
	payload, err := encodeConfig(key, rawJSON(text.Reveal()))
	if err != nil {
		return annotate(err, "", key)
	}
	stored, err := i.w.Get(key)
	outcome, reason := Replaced, ""
	switch {
	case errors.Is(err, ErrNotFound):
		outcome = Imported
	case err != nil && !unreadable(err):
		return annotate(err, "", key)
	case err != nil && !i.overwrite:
		i.keepDamaged(key, annotate(err, "", key))
		return nil
	case err == nil && bytes.Equal(stored, payload):
		outcome = Unchanged
	case !i.overwrite:
		outcome, reason = Kept, "the stored value differs"
	}
	i.tell(key, outcome, reason)
	if outcome == Kept || outcome == Unchanged {
		return nil
	}
	return i.w.Put(key, payload)
}

// keepDamaged leaves a record that cannot be read: it may be brought back yet.
func (i *importer) keepDamaged(key RecordKey, err error) {
	i.results = append(i.results, ImportResult{Key: key, Outcome: Kept, Reason: "the stored record cannot be read (" + err.Error() + ")",
		Newer: true, Damage: err})
}

func (i *importer) tell(key RecordKey, outcome Outcome, reason string) {
	i.results = append(i.results, ImportResult{Key: key, Outcome: outcome, Reason: reason})
}

// sameLogin reports whether two tokens are one: the same secrets until the
// same second.
func sameLogin(a, b Token) bool {
	return a.AccessToken.Equal(b.AccessToken) && a.RefreshToken.Equal(b.RefreshToken) &&
		a.ExpiresAt.Equal(b.ExpiresAt)
}

// equal reports whether two tokens are stored as the same bytes.
func equal(key RecordKey, a, b Token) bool {
	was, errA := encodeToken(key, a)
	is, errB := encodeToken(key, b)
	return errA == nil && errB == nil && bytes.Equal(was, is)
}

// sameAccount reports whether stored and next are known to be one account's: by
// its subject, or because they hold one refresh token. No account has two issuers.
func sameAccount(stored, next Token, owner, subject string) bool {
	if !same(stored.Issuer, next.Issuer) {
		return false
	}
	if owner != "" && subject != "" {
		return owner == subject
	}
	return !next.RefreshToken.IsZero() && next.RefreshToken.Equal(stored.RefreshToken)
}

// rawJSON is a JSON text that encodes as itself.
type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }
