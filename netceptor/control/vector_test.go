package control_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control/controltest"
)

// TestLegacyConversation replays a conversation recorded with a legacy node: a
// mesh in the same state gives the same bytes.
func TestLegacyConversation(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/05-control-status-ping-traceroute.json")
	if err != nil {
		t.Fatal(err)
	}
	var vector struct {
		Conversation []struct {
			Event, From, Hex, Text string
		}
	}
	if err := json.Unmarshal(b, &vector); err != nil {
		t.Fatal(err)
	}

	path := serve(t, newServer(recordedMesh(t)))
	c := dial(t, path)
	for _, step := range vector.Conversation {
		raw, err := hex.DecodeString(step.Hex)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case step.From == "client":
			send(t, c, string(raw))
		case step.From == "server":
			expect(t, c, ourMachine(t, string(raw)))
		case step.Event == "client half-close":
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		case step.Event == "server half-close":
			expectEnd(t, c)
		}
	}
}

// recordedMesh is the mesh that the recording was made in.
func recordedMesh(t *testing.T) *controltest.Mesh {
	at := func(s string) time.Time {
		tm, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return tm
	}
	tags := map[string]string{"type": "Control Service"}
	echo := netceptor.WorkCommand{WorkType: "echo"}
	slow := netceptor.WorkCommand{WorkType: "slow"}
	return &controltest.Mesh{
		State: netceptor.Status{
			NodeID:       "alpha",
			Connections:  []netceptor.Connection{{NodeID: "beta", Cost: 1}},
			RoutingTable: map[string]string{"beta": "beta"},
			Advertisements: []netceptor.Advertisement{
				{NodeID: "alpha", Service: "control", Time: at("2026-11-22T16:49:54.76216895Z"), ConnType: 1, Tags: tags, WorkCommands: []netceptor.WorkCommand{echo}},
				{NodeID: "beta", Service: "control", Time: at("2026-11-22T16:49:35.607750524Z"), ConnType: 1, Tags: tags, WorkCommands: []netceptor.WorkCommand{echo, slow}},
				{NodeID: "gamma", Service: "control", Time: at("2026-11-22T16:48:20.389059389Z"), ConnType: 1, Tags: tags},
			},
			KnownConnectionCosts: map[string]map[string]float64{"alpha": {"beta": 1}, "beta": {"alpha": 1}, "gamma": {}, "mini": {}},
		},
		OnPing: func(_ context.Context, node string, hops uint8) (netceptor.PingResult, error) {
			switch {
			case node != "beta":
				return netceptor.PingResult{}, netceptor.ErrNoRoute
			case hops == 0:
				return netceptor.PingResult{From: "alpha", Time: 127397}, netceptor.ErrExpired
			case hops == 1:
				return netceptor.PingResult{From: "beta", Time: 291128}, nil
			}
			return netceptor.PingResult{From: "beta", Time: 444366}, nil
		},
	}
}

// ourMachine replaces what the answer says of the machine of the recording.
func ourMachine(t *testing.T, answer string) string {
	t.Helper()
	answer = strings.Replace(answer, `"SystemCPUCount":2,`, fmt.Sprintf(`"SystemCPUCount":%d,`, runtime.NumCPU()), 1)
	return regexp.MustCompile(`"SystemMemoryMiB":\d+`).ReplaceAllString(answer, fmt.Sprintf(`"SystemMemoryMiB":%d`, memory(t)))
}

// memory is the machine's memory as the system's files tell it.
func memory(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var kib int
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
