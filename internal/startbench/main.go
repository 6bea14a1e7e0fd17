// Startbench measures how long commands take from start to end, side by side:
//
//	go run ./internal/startbench [-n 300] NAME=COMMAND...
//
// The first command is the floor. The commands take turns, so that what else
// the machine does hits all alike; the median and the least are printed, and
// the ratio of medians to the floor's.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

type contender struct {
	name  string
	args  []string
	times []time.Duration
}

func main() {
	log.SetFlags(0)
	n := flag.Int("n", 300, "runs of each command")
	flag.Parse()
	var contenders []*contender
	for _, arg := range flag.Args() {
		name, command, _ := strings.Cut(arg, "=")
		contenders = append(contenders, &contender{name: name, args: strings.Fields(command)})
	}
	if len(contenders) == 0 {
		log.Fatal("usage: startbench [-n RUNS] NAME=COMMAND...")
	}
	for range *n {
		for _, c := range contenders {
			if err := c.run(); err != nil {
				log.Fatalf("%s: %v", c.name, err)
			}
		}
	}
	report(contenders)
}

func (c *contender) run() error {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	err := cmd.Run()
	c.times = append(c.times, time.Since(start))
	return err
}

func report(contenders []*contender) {
	fmt.Printf("%-28s %10s %10s %8s\n", "command", "median ms", "least ms", "ratio")
	floor := median(contenders[0].times)
	for _, c := range contenders {
		fmt.Printf("%-28s %10.2f %10.2f %8.2f\n", c.name, ms(median(c.times)), ms(slices.Min(c.times)),
			float64(median(c.times))/float64(floor))
	}
}

func median(times []time.Duration) time.Duration {
	sorted := slices.SortedFunc(slices.Values(times), func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
