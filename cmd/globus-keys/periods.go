package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// period is a flag for a time: Go's, or with days before it, as 30d and 1d12h.
type period struct {
	to       *time.Duration // has the default
	flag     string
	such     string // examples, and what is taken
	min, max time.Duration
	zero     bool // 0 is taken, too
}

// forever is the max of a period without one.
const forever = time.Duration(math.MaxInt64)

func (p period) Set(s string) error {
	d, err := parsePeriod(s)
	if err != nil || (d < p.min || d > p.max) && !(p.zero && d == 0) {
		return usageError{fmt.Errorf("--%s is a time such as %s, not %q", p.flag, p.such, s)}
	}
	*p.to = d
	return nil
}

func parsePeriod(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || rest == "" {
		return time.Duration(n) * day, err
	}
	d, err := time.ParseDuration(rest)
	return time.Duration(n)*day + d, err
}

// String is the default in help: 8h, not 8h0m0s.
func (p period) String() string {
	if p.to == nil || *p.to == 0 {
		return ""
	}
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(p.to.String())
}

func (period) Type() string { return "duration" }

// descriptor is a flag for the number of an open one, and gets the name that files have.
type descriptor struct {
	to   *string
	flag string
}

func (d descriptor) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return usageError{fmt.Errorf("--%s is the number of an open descriptor, such as 0, not %q", d.flag, s)}
	}
	*d.to = fmt.Sprintf("fd:%d", n)
	return nil
}

func (descriptor) String() string { return "" }
func (descriptor) Type() string   { return "int" }
