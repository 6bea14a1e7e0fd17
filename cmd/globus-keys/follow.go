package main

import (
	"fmt"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

// checkFollow refuses what contradicts --follow.
func (i *importing) checkFollow() error {
	switch {
	case i.follow && i.overwrite:
		return usageError{fmt.Errorf("--follow takes what expires later, --overwrite takes all: say one of them")}
	case i.follow && i.deleteSource:
		return usageError{fmt.Errorf("--follow is for a file whose program goes on using it: --delete-source is for one that is given up")}
	}
	return nil
}

// tellFollow tells what a file has brought. What is not newer there is not spoken of.
func (i *importing) tellFollow(file *legacy.File, results []keystore.ImportResult) {
	told, fresh := 0, make(map[string]bool)
	for _, r := range results {
		switch {
		case r.Outcome == keystore.Kept && r.Newer:
			i.say("%-9s %s, though the file may have a later token: %s; import --overwrite takes it", r.Outcome, r.Key, r.Reason)
		case r.Outcome == keystore.Kept, r.Outcome == keystore.Unchanged:
			continue
		default:
			i.say("%-9s %s", r.Outcome, r.Key)
			i.sharing = i.sharing || r.Key.Kind == keystore.KindToken && count(file.Contents).refresh > 0
		}
		told++
		if r.Outcome == keystore.Imported {
			fresh[r.Key.Namespace] = true
		}
	}
	if told == 0 {
		i.say("nothing in %s is newer than what is stored", file.Path)
	}
	if len(fresh) > 0 {
		i.sayFresh(file, fresh)
	}
}

// sayFresh is about logins that were not in the store. It remembers nobody who was
// logged out. Of the other namespaces it says nothing.
func (i *importing) sayFresh(file *legacy.File, fresh map[string]bool) {
	i.say("what was imported was not in the store. If it was logged out or removed here: end it in %s too, or it comes back", file.Path)
	for _, c := range file.Contents {
		switch {
		case !fresh[c.Namespace] || len(c.Tokens) == 0:
		case c.AssumedClient:
			i.sayAssumed(c)
		case c.Account.ClientID == "":
			i.hint("the file does not say which client the logins of namespace %q are of: they last until they expire, unless you import it again with --client-id ID", c.Namespace)
		}
	}
}
