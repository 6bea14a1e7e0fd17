package dialog

// names: a window opens on the machine's own screen, where nobody may sit who has come
// by SSH.
func names(getenv func(string) string) []string {
	if getenv("SSH_CONNECTION") != "" || getenv("SSH_TTY") != "" {
		return nil
	}
	return []string{"pinentry-mac"}
}
