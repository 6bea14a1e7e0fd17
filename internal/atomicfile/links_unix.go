//go:build unix

package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links a name may lead through, as on Linux.
const maxLinks = 40

// resolve is filepath.EvalSymlinks that follows only links that the effective user
// or root has made and put where they are. Whoever else could, would choose which of
// the user's own files is meant: a download, say.
func resolve(fsys FS, path string) (string, error) {
	rest, err := filepath.Abs(path)
	done := "/" // without links: ".." in what follows is the directory above
	for links := 0; err == nil && rest != ""; {
		var name, to string
		name, rest, _ = strings.Cut(rest, "/")
		next := filepath.Join(done, name)
		if to, err = follow(fsys, next); to == "" {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", Refuse(path, "leads through too many symbolic links: look who put them there, then remove them")
		}
		if filepath.IsAbs(to) {
			done = "/"
		}
		rest = to + "/" + rest
	}
	return done, err
}

// follow returns what the link at path says, "" if path is not a link.
func follow(fsys FS, path string) (string, error) {
	info, err := fsys.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return "", err
	}
	if bad := badOwner(info, 0); bad != "" {
		return "", Refuse(path, "is a symbolic link that "+bad+": look where it leads, then remove it")
	}
	if err := checkPlace(fsys, path); err != nil {
		return "", err
	}
	return os.Readlink(path)
}
