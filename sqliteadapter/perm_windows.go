package sqliteadapter

import "io/fs"

// closeToOthers does nothing: files below %LOCALAPPDATA% inherit its access list.
func closeToOthers(string) error { return nil }

// oneName is not asked of an open database, for which a handle of its own is needed each
// time: it was when it was opened.
func oneName(string, fs.FileInfo) bool { return true }
