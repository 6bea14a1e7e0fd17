package secretmem

// Protect does nothing here: Go's runtime keeps a crash from Windows Error Reporting,
// unless GOTRACEBACK=wer asks for it, and a process cannot be closed to its own user.
func Protect() error { return nil }
