package keychain

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/secretservice/secretservicetest"
	"github.com/globus-keys/globus-keys/keystore"
)

// asking are the ways in which a service asks, and the calls that do it.
var asking = map[string]struct {
	opts secretservicetest.Options
	call func(*kit) error
}{
	"Get":               {secretservicetest.Options{Locked: true}, (*kit).getError},
	"Create":            {secretservicetest.Options{Locked: true}, (*kit).create},
	"Delete":            {secretservicetest.Options{Locked: true}, (*kit).delete},
	"Create of an item": {secretservicetest.Options{AskBeforeCreate: true}, (*kit).create},
	"Delete of an item": {secretservicetest.Options{AskBeforeDelete: true}, (*kit).delete},
}

// eachAsking runs a test for all of them, with an item that is there.
func eachAsking(t *testing.T, opts secretservicetest.Options, test func(k *kit, service *secretservicetest.Service, call func() error)) {
	for name, a := range asking {
		t.Run(name, func(t *testing.T) {
			merged := opts
			merged.Locked, merged.AskBeforeCreate, merged.AskBeforeDelete = a.opts.Locked, a.opts.AskBeforeCreate, a.opts.AskBeforeDelete
			k, service := scripted(t, merged)
			service.Add(testAccount, testValue)
			k.display()
			test(k, service, func() error { return a.call(k) })
		})
	}
}

func TestDismissedPromptIsAnErrorAndNobodyIsAskedTwice(t *testing.T) {
	eachAsking(t, secretservicetest.Options{Prompts: secretservicetest.Dismissed}, func(k *kit, service *secretservicetest.Service, call func() error) {
		for range 3 {
			err := call()
			k.wantProblem("the call", err, Declined, "dismissed")
			k.wantError("the call", err, keystore.ErrDeclined)
		}
		if n := service.Calls("Prompt"); n != 1 || len(k.notices) != 1 {
			k.Errorf("asked %d times; notices: %q", n, k.notices)
		}
		if n := len(service.Items()); n != 1 {
			k.Errorf("%d items, want the one that was there", n)
		}
	})
}

func TestAnsweredPromptDoesWhatItIsFor(t *testing.T) {
	for name, opts := range map[string]secretservicetest.Options{
		"plainly":   {},
		"broadcast": {Broadcast: true},
		"late":      {Delay: 100 * time.Millisecond},
		"foreign":   {Foreign: true, Delay: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			eachAsking(t, opts, func(k *kit, service *secretservicetest.Service, call func() error) {
				if err := call(); err != nil {
					k.Error(err)
				}
				if n := service.Calls("Prompt"); n != 1 || len(k.notices) != 1 {
					k.Errorf("asked %d times; notices: %q", n, k.notices)
				}
				k.wantNoMatches()
			})
		})
	}
}

// wantNoMatches checks that the bus has no rule of ours left.
func (k *kit) wantNoMatches() {
	k.Helper()
	desktoptest.Until(k.T, "the match rules are removed", func() bool {
		for _, rule := range k.bus.Matches() {
			k.Logf("rule %s", rule)
			return false
		}
		return true
	})
}

func TestCreatedItemIsThereAfterThePrompt(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{AskBeforeCreate: true})
	k.display()
	if err := k.create(); err != nil {
		t.Fatal(err)
	}
	if len(service.Items()) != 1 {
		t.Error("there is no item")
	}
	service.Change(func(o *secretservicetest.Options) {
		o.AskBeforeCreate = false
		o.Reply = map[string][]any{"CreateItem": {secretservicetest.Nothing, secretservicetest.Nothing}}
	})
	k.wantProblem("Create of no item", k.create(), Unreachable, "made no item")
}

func TestNobodyIsAskedWhoCannotAnswer(t *testing.T) {
	for name, make := range map[string]func(*kit){
		"no display": func(k *kit) { k.bus.Setenv("DISPLAY", "") },
		"no prompt":  func(k *kit) { k.backend.opts.NoPrompt = true },
	} {
		t.Run(name, func(t *testing.T) {
			eachAsking(t, secretservicetest.Options{}, func(k *kit, service *secretservicetest.Service, call func() error) {
				make(k)
				err := call()
				k.wantProblem("the call", err, Locked, "")
				k.wantError("the call", err, keystore.ErrLocked)
				if service.Calls("Prompt") > 0 || len(k.notices) > 0 {
					k.Error("somebody was asked")
				}
				if n := len(service.Items()); n != 1 {
					k.Errorf("%d items, want the one that was there", n)
				}
			})
		})
	}
}

func TestWaylandIsADisplay(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{Locked: true})
	k.bus.Setenv("WAYLAND_DISPLAY", "wayland-0")
	if err := k.create(); err != nil {
		t.Error(err)
	}
}

func TestPromptThatNobodyAnswersIsDismissed(t *testing.T) {
	eachAsking(t, secretservicetest.Options{Prompts: secretservicetest.Ignored}, func(k *kit, service *secretservicetest.Service, call func() error) {
		k.backend.limits.answer = hangs
		k.wantProblem("the call", call(), Locked, "nobody has answered")
		if n := service.Calls("Dismiss"); n != 1 {
			k.Errorf("%d prompts were dismissed", n)
		}
		k.wantProblem("the next", call(), Locked, "nobody has answered")
		if n := service.Calls("Prompt"); n != 1 {
			k.Errorf("asked %d times", n)
		}
		k.wantNoMatches()
	})
}

func TestContextEndsAPrompt(t *testing.T) {
	eachAsking(t, secretservicetest.Options{Prompts: secretservicetest.Ignored}, func(k *kit, service *secretservicetest.Service, call func() error) {
		ctx, cancel := context.WithCancel(k.ctx)
		before := k.ctx
		k.ctx = ctx
		service.Change(func(o *secretservicetest.Options) {
			o.Before = func(method string) {
				if method == "Prompt" {
					cancel()
				}
			}
		})
		k.wantError("the call", call(), context.Canceled)
		if n := service.Calls("Dismiss"); n != 1 {
			k.Errorf("%d prompts were dismissed", n)
		}
		// Nobody has declined: the next call may ask.
		k.ctx = before
		service.Change(func(o *secretservicetest.Options) { o.Prompts, o.Before = secretservicetest.Answered, nil })
		if err := call(); err != nil {
			k.Errorf("the next: %v", err)
		}
	})
}

func TestServiceThatVanishesDuringAPromptIsUnreachable(t *testing.T) {
	eachAsking(t, secretservicetest.Options{Prompts: secretservicetest.Vanish}, func(k *kit, service *secretservicetest.Service, call func() error) {
		k.wantProblem("the call", call(), Unreachable, "ended while its dialog was open")
		if n := service.Calls("Prompt"); n != 1 {
			k.Errorf("asked %d times", n)
		}
	})
}

func TestBusThatEndsDuringAPromptIsUnreachable(t *testing.T) {
	opts := secretservicetest.Options{Prompts: secretservicetest.Ignored, Delay: 100 * time.Millisecond}
	eachAsking(t, opts, func(k *kit, service *secretservicetest.Service, call func() error) {
		service.Change(func(o *secretservicetest.Options) { o.Shown = k.bus.Stop })
		k.wantProblem("the call", call(), Unreachable, "ended while its dialog was open")
	})
}

func TestBusThatEndsAsAPromptBeginsIsUnreachable(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Locked: true})
	k.display()
	service.Change(func(o *secretservicetest.Options) {
		o.Before = func(method string) {
			if method == "Prompt" {
				k.bus.Stop()
			}
		}
	})
	k.wantProblem("Create", k.create(), Unreachable, "ended while its dialog was open")
}

func TestCompletedOfWrongTypesIsAnError(t *testing.T) {
	for _, body := range [][]any{{}, {"text"}, {false}, {false, "no variant"}, {uint32(0), uint32(0)}} {
		k, _ := scripted(t, secretservicetest.Options{Locked: true, Completed: body})
		k.display()
		k.wantProblem("Create", k.create(), Unreachable, "not of its protocol")
	}
}

// Who waits behind another's dialog waits for a person too.
func TestPersonIsGivenMoreTimeThanTheService(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Locked: true, Delay: 2500 * time.Millisecond})
	service.Add(testAccount, testValue)
	k.display()
	k.limit(2 * time.Second)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { k.wantValue(testValue) })
	}
	group.Wait()
}

func TestManyCallsAskOnce(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Locked: true, Delay: 50 * time.Millisecond})
	service.Add(testAccount, testValue)
	k.display()
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() { k.wantValue(testValue) })
	}
	group.Wait()
	if n := service.Calls("Prompt"); n != 1 || len(k.notices) != 1 {
		t.Errorf("asked %d times; notices: %q", n, k.notices)
	}
}

func TestNotFoundIsSaidOnlyOfWhatIsOpen(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{Locked: true})
	k.wantProblem("Get", k.getError(), Locked, "is locked")
	k.wantProblem("Delete", k.delete(), Locked, "is locked")
	// Another collection than the default is locked: nobody is asked for that.
	service.Change(func(o *secretservicetest.Options) { o.Locked, o.OtherLocked = false, true })
	k.display()
	k.wantProblem("Get", k.getError(), Locked, "not all of its keyrings")
	if err := k.delete(); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if service.Calls("Prompt") > 0 {
		t.Error("somebody was asked")
	}
	service.Change(func(o *secretservicetest.Options) { o.OtherLocked = false })
	k.wantError("Get", k.getError(), keystore.ErrNotFound)
	service.Change(func(o *secretservicetest.Options) { o.Locked = true })
	k.wantError("Get, unlocked by a prompt", k.getError(), keystore.ErrNotFound)
	if service.Calls("Prompt") != 1 {
		t.Error("nobody was asked")
	}
}

func TestLockedItemIsUnlocked(t *testing.T) {
	k, service := scripted(t, secretservicetest.Options{})
	item := testItem()
	item.Locked = true
	service.AddItem(item)
	k.wantProblem("Get", k.getError(), Locked, "is locked")
	k.display()
	k.wantValue(testValue)
}

// TestPromptThatShowsNothingIsNotToldOf: those of KWallet and KeePassXC often end
// at once.
func TestPromptThatShowsNothingIsNotToldOf(t *testing.T) {
	k, _ := scripted(t, secretservicetest.Options{AskBeforeCreate: true})
	k.bus.Setenv("DISPLAY", ":0")
	k.backend.limits.shown = time.Hour
	if err := k.create(); err != nil {
		t.Fatal(err)
	}
	if len(k.notices) > 0 {
		t.Errorf("notices: %q", k.notices)
	}
}
