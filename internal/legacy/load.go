package legacy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/globus-keys/globus-keys/keystore"
)

// sqliteMagic is how every SQLite database begins (sqlite.org/fileformat.html,
// section 1.3.1).
const sqliteMagic = "SQLite format 3\x00"

// raw is a file as it lies on the disk.
type raw struct {
	info   fs.FileInfo
	sqlite bool   // then text is empty: SQLite alone may read the rest
	text   []byte // at most maxText
}

// load reads the file at path, and has closed it when it returns.
func load(path string) (raw, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return raw{}, err
	}
	defer f.Close()
	head := make([]byte, len(sqliteMagic))
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return raw{}, cause(err)
	}
	if string(head[:n]) == sqliteMagic {
		return raw{info: info, sqlite: true}, nil
	}
	rest, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return raw{}, cause(err)
	}
	if n+len(rest) > maxText {
		return raw{}, &keystore.Error{Err: keystore.ErrTooLarge,
			Detail: fmt.Sprintf("a token file in text form has at most %d bytes", maxText)}
	}
	return raw{info: info, text: append(head[:n], rest...)}, nil
}

// openRegular opens a regular file. It looks before it opens, since opening a
// device can do something, and again afterwards, since the file may be another
// by then; openFlags sees to it that a FIFO put there meanwhile does not block.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, cause(err)
	}
	if err := checkRegular(info); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, cause(err)
	}
	info, err = f.Stat()
	if err == nil {
		err = checkRegular(info)
	}
	if err != nil {
		f.Close()
		return nil, nil, cause(err)
	}
	return f, info, nil
}

func checkRegular(info fs.FileInfo) error {
	mode := info.Mode()
	what := "not a regular file"
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		what = "a directory"
	case mode&fs.ModeSymlink != 0:
		what = "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		what = "a FIFO"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	case mode&fs.ModeDevice != 0:
		what = "a device"
	}
	return foreignf("it is %s; a token file is a regular file", what)
}

// cause is what the system said, without the path that our errors name anyway.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
