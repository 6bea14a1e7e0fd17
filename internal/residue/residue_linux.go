// Package residue looks for secrets in the memory of a process that runs, for
// tests of what it leaves there when it is done with them.
package residue

import (
	"bytes"
	"debug/elf"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// Secret is something that no other memory has by chance: 16 random bytes at
// least.
type Secret struct {
	Name string // for the findings
	Text string // its bytes
}

// Search stops the process for a moment, reads all of its memory and has gcore make
// a core file of it, which has the registers too. It returns a line for each secret
// that is in one of them: as it is, and half of it; in hexadecimal and base64, at any
// place of a longer text; and as HMAC has a key in its blocks. A process that cannot
// be read fails the test.
//
// What has been erased is found until the garbage collector has been there: package
// erase.
func Search(t testing.TB, pid int, secrets ...Secret) []string {
	t.Helper()
	parts := append(memory(t, pid), core(t, pid)...)
	var found []string
	for _, s := range secrets {
		for _, f := range formsOf(s.Text) {
			for _, p := range parts {
				if at := bytes.Index(p.data, f.bytes); at >= 0 {
					found = append(found, fmt.Sprintf("%s, %s: in %s at %#x, %d times", s.Name, f.name, p.name, p.from+uint64(at), bytes.Count(p.data, f.bytes)))
				}
			}
		}
	}
	return found
}

// part is a part of a process's memory that is in use.
type part struct {
	name string
	from uint64 // its address, or its place in the core file
	data []byte
}

// memory reads what is mapped and can be read, also what is left out of core files.
func memory(t testing.TB, pid int) (parts []part) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatalf("a line of maps is %q: %v", line, err)
		}
		if mode[0] != 'r' || strings.Contains(line, "[vvar") || strings.Contains(line, "[vsyscall]") {
			continue // the kernel's own, which has no secret of a process
		}
		words := strings.Fields(line)
		parts = append(parts, used(t, mem, words[len(words)-1], from, to)...)
	}
	return parts
}

// core reads the core file that gcore makes, which has the registers too. What a
// process has reserved and cannot read itself is in there, more than a gigabyte of
// zeros of a Go program, and left out.
func core(t testing.TB, pid int) (parts []part) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), testenv.Need(t, "gcore"), "-o", filepath.Join(dir, "core"), fmt.Sprint(pid))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("gcore: %v\n%s", err, out)
	}
	file, err := os.Open(filepath.Join(dir, fmt.Sprintf("core.%d", pid)))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer os.RemoveAll(dir) // not when the test ends: it is large
	defer file.Close()
	segments, err := elf.NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments.Progs {
		if s.Type == elf.PT_NOTE || s.Flags != 0 {
			parts = append(parts, used(t, file, "the core file", s.Off, s.Off+s.Filesz)...)
		}
	}
	return parts
}

const page = 4096

// used returns the stretches of pages that are not all zero. The race detector, which
// would look at every byte of them, has nothing to find here.
//
//go:norace
func used(t testing.TB, file *os.File, name string, from, to uint64) (parts []part) {
	t.Helper()
	chunk, zeros := make([]byte, 256*page), make([]byte, page)
	next := from // where the last part goes on
	for at := from; at < to; at += uint64(len(chunk)) {
		chunk = chunk[:min(uint64(len(chunk)), to-at)]
		if err := readAt(file, chunk, at); err != nil {
			t.Fatalf("read %s at %#x: %v", name, at, err)
		}
		for i := 0; i < len(chunk); i += page {
			data := chunk[i:min(i+page, len(chunk))]
			if bytes.Equal(data, zeros[:len(data)]) {
				continue
			}
			here := at + uint64(i)
			if len(parts) == 0 || here != next {
				parts = append(parts, part{name: name, from: here})
			}
			last := &parts[len(parts)-1]
			last.data = append(last.data, data...)
			next = here + page
		}
	}
	return parts
}

// readAt is file.ReadAt without what that tells the race detector.
func readAt(file *os.File, chunk []byte, at uint64) error {
	n, _, errno := unix.Syscall6(unix.SYS_PREAD64, file.Fd(), uintptr(unsafe.Pointer(&chunk[0])), uintptr(len(chunk)), uintptr(at), 0, 0)
	switch {
	case errno != 0:
		return errno
	case int(n) < len(chunk):
		return io.ErrUnexpectedEOF
	}
	return nil
}

// form is one way in which a secret may lie in memory.
type form struct {
	name  string
	bytes []byte
}

func formsOf(secret string) []form {
	text := []byte(secret)
	if len(text) < 16 {
		panic("residue: a secret of fewer than 16 bytes is found by chance")
	}
	forms := []form{
		{"first half", text[:len(text)/2]}, // found with the whole
		{"second half", text[len(text)/2:]},
		{"hexadecimal", []byte(hex.EncodeToString(text))},
		{"upper-case hexadecimal", fmt.Appendf(nil, "%X", text)},
		{"as HMAC's inner key", xored(text, 0x36)},
		{"as HMAC's outer key", xored(text, 0x5c)},
	}
	for shift := range 3 {
		forms = append(forms, form{"base64", inBase64(base64.RawStdEncoding, text, shift)},
			form{"base64url", inBase64(base64.RawURLEncoding, text, shift)})
	}
	return forms
}

func xored(text []byte, with byte) []byte {
	b := bytes.Clone(text)
	for i := range b {
		b[i] ^= with
	}
	return b
}

// inBase64 is what an encoder writes of text when shift bytes stand before it
// and anything after: the characters that depend on no neighbour.
func inBase64(encoding *base64.Encoding, text []byte, shift int) []byte {
	encoded := encoding.EncodeToString(append(make([]byte, shift), text...))
	return []byte(encoded[(8*shift+5)/6 : 8*(shift+len(text))/6])
}
