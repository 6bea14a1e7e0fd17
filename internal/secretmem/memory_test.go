package secretmem

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

const secret = "fake-key-of-a-store-0123456789ab"

func TestMemoryKeepsWhatIsWritten(t *testing.T) {
	for _, size := range []int{1, len(secret), os.Getpagesize(), os.Getpagesize() + 1} {
		m := made(t, size)
		b := m.Bytes()
		if len(b) != size || cap(b) != size || !bytes.Equal(b, make([]byte, size)) {
			t.Errorf("%d bytes were asked for: %d, capacity %d", size, len(b), cap(b))
		}
		b[0], b[size-1] = 'a', 'z'
		if again := m.Bytes(); again[size-1] != 'z' {
			t.Errorf("%d bytes: what was written is gone", size)
		}
	}
}

func made(t *testing.T, size int) *Memory {
	t.Helper()
	m, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestNoMemoryOfNoSize(t *testing.T) {
	for _, size := range []int{0, -1} {
		if _, err := New(size); err == nil {
			t.Errorf("New(%d) has no error", size)
		}
	}
}

func TestCloseClears(t *testing.T) {
	page := os.Getpagesize()
	pages, err := allocate(2 * page)
	if err != nil {
		t.Fatal(err)
	}
	defer release(pages)
	// Not a mapping of its own, and so one that Close cannot give back: what it
	// leaves there can be looked at.
	inside := pages[page : page+len(secret) : page+len(secret)]
	copy(inside, secret)
	m := &Memory{pages: &inside[0], size: len(inside), mapped: len(inside)}
	m.Close()
	if !bytes.Equal(inside, make([]byte, len(secret))) {
		t.Error("what was in the memory is there after Close")
	}
}

func TestClosedTwice(t *testing.T) {
	m := made(t, 1)
	for range 2 {
		if err := m.Close(); err != nil || m.Bytes() != nil {
			t.Errorf("Close = %v, and Bytes has %d", err, len(m.Bytes()))
		}
	}
}

func TestPrintingShowsNothing(t *testing.T) {
	m := made(t, len(secret))
	copy(m.Bytes(), secret)
	inside := struct{ m *Memory }{m}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, value := range []any{m, *m, inside} {
			text := fmt.Sprintf(verb, value)
			for _, form := range []string{secret, fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")} {
				if strings.Contains(text, form) {
					t.Errorf("%s of a %T shows the secret", verb, value)
				}
			}
		}
	}
}
