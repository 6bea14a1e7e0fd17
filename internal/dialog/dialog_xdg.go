//go:build !darwin && !windows

package dialog

// names begins with the one that somebody has chosen for the machine.
func names(getenv func(string) string) []string {
	if getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	return []string{"pinentry", "pinentry-x11", "pinentry-gnome3", "pinentry-qt", "pinentry-qt6", "pinentry-qt5",
		"pinentry-gtk-2", "pinentry-fltk", "pinentry-efl"}
}
