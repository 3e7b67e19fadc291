// What all peers in Go do: answer each request once, then be measured round by round, over JSON lines.

package main

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"
)

const (
	// The requests in a batch, if a single one is too short for the clock.
	batchOf = 64
	// A request is measured alone if it takes at least as long as so many readings of the clock.
	clockReadings = 100
	// The time for answering all requests.
	answering = 3 * time.Second
)

// measureOrder limits a measurement by its time and by its number of samples.
type measureOrder struct {
	BudgetMs int64 `json:"budget_ms"`
	Samples  int   `json:"samples"`
}

// serve answers all requests, writes one line about that, and then measures once for each line that it reads. It answers
// such a line with the time of each batch of requests, including the clock. Requests are shuffled before each pass, so
// that no processor learns their order.
func serve(version string, requests []decide) error {
	out := json.NewEncoder(os.Stdout)
	clockNs := clockNs()
	started := time.Now()
	answers, taken := make([]byte, 0, len(requests)), make([]int64, 0, len(requests))
	for _, request := range requests {
		began := time.Now()
		allowed := request()
		taken = append(taken, time.Since(began).Nanoseconds())
		answer := byte('0')
		if allowed {
			answer = '1'
		}
		answers = append(answers, answer)
		if time.Since(started) > answering {
			break
		}
	}
	batch := 1
	if median(taken) < clockReadings*clockNs {
		batch = batchOf
	}
	about := map[string]any{"version": version, "answers": string(answers), "batch": batch, "clock_ns": clockNs}
	if err := out.Encode(about); err != nil {
		return err
	}
	// The order differs from pass to pass, but is the same in each run.
	chance := rand.New(rand.NewPCG(1, 1))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var order measureOrder
		if err := json.Unmarshal(in.Bytes(), &order); err != nil {
			return err
		}
		// Collect garbage of earlier rounds before this round is timed.
		runtime.GC()
		taken := measure(requests, batch, order, chance)
		if err := out.Encode(map[string]any{"batch": batch, "ns": taken}); err != nil {
			return err
		}
	}
	return nil
}

func measure(requests []decide, batch int, order measureOrder, chance *rand.Rand) []int64 {
	taken := make([]int64, 0, order.Samples)
	end := time.Now().Add(time.Duration(order.BudgetMs) * time.Millisecond)
	for {
		chance.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
		for some := range slices.Chunk(requests, batch) {
			if len(some) < batch {
				break
			}
			began := time.Now()
			for _, request := range some {
				request()
			}
			ended := time.Now()
			taken = append(taken, ended.Sub(began).Nanoseconds())
			if len(taken) == order.Samples || ended.After(end) {
				return taken
			}
		}
	}
}

// clockNs returns the median time between two readings of the clock.
func clockNs() int64 {
	apart := make([]int64, 10_001)
	for i := range apart {
		began := time.Now()
		apart[i] = time.Since(began).Nanoseconds()
	}
	return median(apart)
}

func median(values []int64) int64 {
	slices.Sort(values)
	return values[len(values)/2]
}
