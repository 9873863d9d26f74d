package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// The ways of a flow.
const (
	there = "there" // from the near host to the far one
	back  = "back"
)

var ways = []string{there, back}

// result is one transfer.
type result struct {
	gbits float64            // of the application, in a second
	again float64            // segments that its TCP sent again
	cpu   map[string]float64 // seconds for each GB, by group of processes
}

func (r result) total() (t float64) {
	for _, s := range r.cpu {
		t += s
	}
	return t
}

func (r result) groups() (s string) {
	for _, name := range slices.Sorted(maps.Keys(r.cpu)) {
		s += fmt.Sprintf("%s %.2f  ", name, r.cpu[name])
	}
	return s
}

// median returns the result in the middle by rate.
func median(rs []result) result {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b result) int { return int((a.gbits - b.gbits) * 1e9) })
	return rs[len(rs)/2]
}

// transfer sends through a tunnel for some seconds.
func (e *ends) transfer(ctx context.Context, t *tunnel, way string, seconds int) (r result, err error) {
	const port = "5201"
	server := exec.Command("iperf3", "--server", "--one-off", "--bind", t.far, "--port", port, "--forceflush")
	e.far.Run(server)
	sink, err := lab.Start("iperf3", server)
	if err != nil {
		return r, err
	}
	defer sink.Kill()
	if err := sink.WaitOutput(ctx, "listening"); err != nil {
		return r, err
	}
	args := []string{"--client", t.far, "--port", port, "--time", strconv.Itoa(seconds), "--json"}
	if way == back {
		args = append(args, "--reverse")
	}
	client := exec.CommandContext(ctx, "iperf3", args...)
	e.near.Run(client)
	before, err := t.cpuSeconds()
	if err != nil {
		return r, err
	}
	out, failed := client.Output()
	after, err := t.cpuSeconds()
	if err != nil {
		return r, err
	}
	var said struct {
		Error string
		End   struct {
			Sent     struct{ Retransmits float64 } `json:"sum_sent"`
			Received struct {
				Bytes float64
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return r, errors.Join(failed, fmt.Errorf("iperf3 says %q: %w", out, err))
	}
	if failed != nil || said.Error != "" || said.End.Received.Bytes == 0 {
		return r, errors.Join(failed, fmt.Errorf("iperf3 says: %s", said.Error))
	}
	r = result{gbits: said.End.Received.Rate / 1e9, again: said.End.Sent.Retransmits, cpu: map[string]float64{}}
	for name := range after {
		r.cpu[name] = (after[name] - before[name]) / (said.End.Received.Bytes / 1e9)
	}
	return r, nil
}
