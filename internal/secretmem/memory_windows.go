package secretmem

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

func allocate(size int) ([]byte, error) {
	address, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_COMMIT|windows.MEM_RESERVE, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	// The address is none of the garbage collector's, so that it cannot move.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), size), nil
}

func lock(pages []byte) error { return windows.VirtualLock(addressOf(pages), uintptr(len(pages))) }

// release unlocks too: a page that is not committed is not locked.
func release(pages []byte) error {
	return windows.VirtualFree(addressOf(pages), 0, windows.MEM_RELEASE)
}

func addressOf(pages []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(pages))) }
