package client_test

import (
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// BenchmarkSubmit has 32 clients submit units that are on the disk, each before its
// client hears of it, and that wait for a slot.
func BenchmarkSubmit(b *testing.B) {
	n := newNode(b, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-u.Stopped
		return workceptor.Exit{}
	}}, workceptor.WorkType{Name: "echo", Slots: 1})
	c := client.Client{Dial: n.dial}
	b.SetParallelism(16) // on two processors
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Submit(b.Context(), client.Job{Type: "echo"}); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	for _, u := range n.work.List() {
		if _, err := n.work.Release(b.Context(), u.ID, true); err != nil {
			b.Error(err)
		}
	}
}
