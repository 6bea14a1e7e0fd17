//go:build unix && !darwin

package browse

// system are what desktops have (xdg-utils, Debian's alternatives, WSL).
var system = []string{"xdg-open", "x-www-browser", "www-browser", "wslview"}

func atScreen(getenv func(string) string, ssh bool) bool {
	return getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "" && !ssh
}
