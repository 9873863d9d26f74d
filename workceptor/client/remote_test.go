package client_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// mesh is the way from one node to another, beta. It implements workceptor.Mesh.
type mesh struct {
	beta *node

	mu       sync.Mutex
	away     bool
	changed  chan struct{}
	profiles map[string]bool // by which it was dialed
}

func (m *mesh) Dial(ctx context.Context, _, tls string) (io.ReadWriteCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, errors.New("no route to node")
	}
	m.profiles[tls] = true
	return m.beta.dial(ctx)
}

func (m *mesh) Profile(tls string) bool { return tls == "proof" }

func (m *mesh) Reach(node string) (reached, ours bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return node == "beta" && !m.away, true
}

func (m *mesh) Await(ctx context.Context, _ string, reachable bool) error {
	for {
		m.mu.Lock()
		is, changed := !m.away, m.changed
		m.mu.Unlock()
		if is == reachable {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *mesh) setAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
	close(m.changed)
	m.changed = make(chan struct{})
}

// newMesh starts alpha and beta, and returns a client of alpha.
func newMesh(t *testing.T, worker *workertest.Worker) (*mesh, *client.Client) {
	t.Helper()
	m := &mesh{changed: make(chan struct{}), profiles: make(map[string]bool)}
	m.beta = newNode(t, worker)
	m.beta.stop()
	m.beta.config.NodeID = "beta"
	m.beta.start()
	alpha := newNode(t, &workertest.Worker{})
	alpha.stop()
	alpha.config.Mesh = m
	alpha.start()
	return m, &client.Client{Dial: alpha.dial}
}

// A job of another node goes there by the TLS profile that was named, and can wait for
// the node as long as its TTL.
func TestJobOfAnotherNode(t *testing.T) {
	t.Parallel()
	m, k := newMesh(t, &workertest.Worker{})
	ctx := within(t)
	m.setAway(true)
	job := client.Job{Node: "beta", Type: "echo", TLSClient: "proof", Payload: strings.NewReader("far")}
	if u, err := k.Submit(ctx, job); !errors.Is(err, client.ErrUnreachable) || err.Error() != "no way to node beta" {
		t.Errorf("without a way, and without a TTL: %+v, %v", u, err)
	}
	job.TTL = settle
	u, err := k.Submit(ctx, job)
	if err != nil || u.State != client.Pending {
		t.Fatalf("%+v, %v", u, err)
	}
	if l, err := k.List(ctx); err != nil || len(l.Nodes) != 1 || l.Nodes[0].Node != "beta" || l.Nodes[0].Alive || l.Nodes[0].UnknownSince.IsZero() || l.Nodes[0].Units != 1 {
		t.Errorf("%v: a node that is away: %+v", err, l.Nodes)
	}
	m.setAway(false)
	var got both
	end, err := k.Results(ctx, u.ID, client.From{}, got.add)
	if err != nil || end.State != client.Succeeded || got.out.String() != "far" {
		t.Errorf("%v: %q, %+v", err, &got.out, end)
	}
	m.mu.Lock()
	if !m.profiles["proof"] || len(m.profiles) != 1 {
		t.Errorf("dialed by %v", m.profiles)
	}
	m.mu.Unlock()
	job.TTL = time.Millisecond
	m.setAway(true)
	if u, err = k.Submit(ctx, job); err != nil {
		t.Fatal(err)
	}
	if end, err = k.Results(ctx, u.ID, client.From{}, got.add); err != nil || end.State != client.Failed {
		t.Errorf("behind its TTL: %v, %+v", err, end)
	}
}

// A unit is lost when its node has been away for the time that was given.
func TestFailOnDisconnect(t *testing.T) {
	t.Parallel()
	began, end := make(chan struct{}), make(chan struct{})
	m, k := newMesh(t, &workertest.Worker{Run: func(*workertest.Unit) workceptor.Exit {
		close(began)
		<-end
		return workceptor.Exit{}
	}})
	defer close(end)
	ctx := within(t)
	u, err := k.Submit(ctx, client.Job{Node: "beta", Type: "echo", OnDisconnect: client.Fail, DisconnectTime: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	<-began
	m.setAway(true)
	m.beta.stop()
	if u, err = k.Results(ctx, u.ID, client.From{Stdout: client.Skip, Stderr: client.Skip}, nil); err != nil || u.State != client.Lost {
		t.Errorf("%v, %+v", err, u)
	}
}

// What the node cannot do of this it says.
func TestJobOfAnotherNodeRefused(t *testing.T) {
	t.Parallel()
	m, k := newMesh(t, &workertest.Worker{})
	ctx := within(t)
	for want, job := range map[string]client.Job{
		"for work on other nodes": {Type: "echo", TTL: time.Hour},
		"not a duration":          {Node: "beta", Type: "echo", TTL: -time.Hour},
		"for on_disconnect fail":  {Node: "beta", Type: "echo", OnDisconnect: client.Wait, DisconnectTime: time.Hour},
		"not wait or fail":        {Node: "beta", Type: "echo", OnDisconnect: "hope"},
		"unknown TLS config hope": {Node: "beta", Type: "echo", TLSClient: "hope"},
	} {
		if u, err := k.Submit(ctx, job); !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %+v, %v; wanted %q", job, u, err, want)
		}
	}
	// It has no key.
	if u, err := k.Submit(ctx, client.Job{Node: "beta", Type: "echo", SignWork: true}); !errors.Is(err, client.ErrDenied) {
		t.Errorf("%+v, %v", u, err)
	}
	// The other node has no such work. With time for it that is the unit's end, and no
	// error here.
	if u, err := k.Submit(ctx, client.Job{Node: "beta", Type: "nope"}); !errors.Is(err, client.ErrUnknownType) {
		t.Errorf("%v, %+v", err, u)
	}
	u, err := k.Submit(ctx, client.Job{Node: "beta", Type: "nope", TTL: time.Hour})
	if err == nil {
		u, err = k.Results(ctx, u.ID, client.From{}, nil)
	}
	if err != nil || u.State != client.Failed || !u.Started.IsZero() || !strings.Contains(u.Detail, "unknown work type nope") || !errors.Is(client.Refusal(u), client.ErrUnknownType) {
		t.Errorf("%v, %+v", err, u)
	}
	m.beta.work.Drain(0)
	if u, err := k.Submit(ctx, client.Job{Node: "beta", Type: "echo"}); !errors.Is(err, client.ErrDraining) {
		t.Errorf("%v, %+v", err, u)
	}
	u, err = k.Submit(ctx, client.Job{Node: "beta", Type: "echo", TTL: time.Hour})
	if err == nil {
		u, err = k.Results(ctx, u.ID, client.From{}, nil)
	}
	if err != nil || u.State != client.Failed || !errors.Is(client.Refusal(u), client.ErrDraining) || client.Refusal(u).Error() != u.Reason {
		t.Errorf("%v, %+v", err, u)
	}
}
