package agent

import "time"

// Clock tells the time twice: by the wall, and by a clock that nobody sets. The
// wall's goes on while the machine sleeps, and can be set back; the other stands
// still while it sleeps. A key is over when either says so.
type Clock func() Instant

// Instant is one moment on both clocks.
type Instant struct {
	Wall   time.Time     // its monotonic part is not used
	Steady time.Duration // since some moment
}

// SystemClock returns the Clock of the machine.
func SystemClock() Clock {
	began := time.Now()
	return func() Instant {
		now := time.Now()
		return Instant{Wall: now.Round(0), Steady: now.Sub(began)}
	}
}

// deadline is a moment on both clocks; the first that reaches it counts.
type deadline Instant

func (i Instant) in(d time.Duration) deadline {
	return deadline{Wall: i.Wall.Add(d), Steady: i.Steady + d}
}

func (d deadline) over(now Instant) bool {
	return !now.Wall.Before(d.Wall) || now.Steady >= d.Steady
}

// left is how long it takes until the first of the clocks reaches d.
func (d deadline) left(now Instant) time.Duration {
	return max(0, min(d.Wall.Sub(now.Wall), d.Steady-now.Steady))
}
