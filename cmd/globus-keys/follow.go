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
	told, fresh := 0, false
	for _, r := range results {
		switch {
		case r.Outcome == keystore.Kept && r.Newer:
			i.say("%-9s %s, though the file may have a later token: %s; import --overwrite takes it", r.Outcome, r.Key, r.Reason)
		case r.Outcome == keystore.Kept, r.Outcome == keystore.Unchanged:
			continue
		default:
			i.say("%-9s %s", r.Outcome, r.Key)
		}
		told++
		fresh = fresh || r.Outcome == keystore.Imported
	}
	if told == 0 {
		i.say("nothing in %s is newer than what is stored", file.Path)
	}
	if fresh {
		i.sayFresh(file)
	}
}

// sayFresh is about logins that were not in the store. It remembers nobody who was
// logged out.
func (i *importing) sayFresh(file *legacy.File) {
	i.say("what was imported was not in the store. If it was logged out or removed here: end it in %s too, or it comes back", file.Path)
	for _, note := range file.Notes {
		i.say("%s", note)
	}
	i.sayClient(file)
}

// sharing says what two programs do to a refresh token that both have.
func (a *app) sharing(path string) {
	a.warn("two programs share the refresh tokens of %s now. Where the issuer replaces a refresh token when it is used, that cannot work: "+
		"who renews second loses the login, for both; there, log in for each program. "+
		"Elsewhere let one program renew, the one that uses the file, and run import --follow before the tokens here expire.", path)
}
