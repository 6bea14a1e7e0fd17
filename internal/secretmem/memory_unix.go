//go:build unix

package secretmem

import "golang.org/x/sys/unix"

func allocate(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func lock(pages []byte) error {
	if err := unix.Mlock(pages); err != nil {
		return err
	}
	return leaveOut(pages)
}

// release unlocks too: a page that is not mapped is not locked.
func release(pages []byte) error { return unix.Munmap(pages) }
