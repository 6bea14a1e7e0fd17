package sqliteadapter

// closeToOthers does nothing: files below %LOCALAPPDATA% inherit its access list.
func closeToOthers(string) error { return nil }
