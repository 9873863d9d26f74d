package workceptor_test

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// Units that are kept too long are released, those that run are not.
func TestRetention(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		if u.Params["params"] == "wait" {
			<-u.Stopped
		}
		return workceptor.Exit{}
	}})
	runs := n.submit(workceptor.Request{Type: "echo", Params: map[string]string{"params": "wait"}}, "")
	old := n.submit(workceptor.Request{Type: "echo"}, "")
	n.untilState(old.ID, workceptor.Succeeded)
	young := n.submit(workceptor.Request{Type: "echo"}, "")
	n.untilState(young.ID, workceptor.Succeeded)
	n.close()
	n.config.Retention.Count = 1
	n.open()
	n.until(old.ID, "released", func(u workceptor.Status) bool { return u.Released })
	for id, want := range map[string]workceptor.State{runs.ID: workceptor.Running, young.ID: workceptor.Succeeded} {
		if u, err := n.Get(id); err != nil || u.State != want {
			t.Errorf("unit %s is %s, %v; want %s", id, u.State, err, want)
		}
	}
	if _, err := n.Release(t.Context(), runs.ID, false); err != nil {
		t.Error(err)
	}
}

// Units that are released while others are about to be started in their place: each
// release is one, whoever has got there first.
func TestReleaseWhileUnitsStart(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: blocking(nil)}, workceptor.WorkType{Name: "echo", Slots: 1})
	ids := make(chan string, 300)
	for range cap(ids) {
		s, err := n.Submit(workceptor.Request{Type: "echo"})
		if err == nil {
			_, err = s.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		ids <- s.Unit.ID
	}
	close(ids)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for id := range ids {
				if released, err := n.Release(t.Context(), id, false); err != nil || !released {
					t.Errorf("unit %s: %v, %v", id, released, err)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkList lists 10,000 units, in both forms, as what is sent.
func BenchmarkList(b *testing.B) {
	const units = 10_000
	w, err := workceptor.New(workceptor.Config{Dir: b.TempDir() + "/units", NodeID: "alpha", Reserve: 1})
	if err == nil {
		err = w.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	worker := &workertest.Worker{}
	b.Cleanup(func() {
		worker.Detach()
		if err := w.Close(); err != nil {
			b.Error(err)
		}
		worker.Wait()
	})
	if _, err := worker.Attach(w, workceptor.WorkType{Name: "echo", Params: true}); err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 { // who share what the disk does
		all.Go(func() {
			for range units / 50 {
				s, err := w.Submit(workceptor.Request{Type: "echo", Params: map[string]string{"params": "one two"}})
				if err == nil {
					_, err = s.Commit(b.Context())
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	worker.Wait()
	c := w.Command()
	for name, list := range map[string]func() (any, error){
		"own": func() (any, error) {
			return c.Own(b.Context(), nil, json.RawMessage(`{"subcommand":"list"}`), nil)
		},
		"legacy": func() (any, error) {
			args := "list"
			return c.Plain(b.Context(), nil, &args, nil)
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				answer, err := list()
				if err != nil {
					b.Fatal(err)
				}
				line, err := json.Marshal(answer)
				if err != nil || len(line) < units*50 {
					b.Fatalf("%d bytes, %v", len(line), err)
				}
			}
		})
	}
}
