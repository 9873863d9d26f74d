package journal

import (
	"sync"
	"testing"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
)

// BenchmarkDurable32 is what 32 clients get who each wait for every record.
func BenchmarkDurable32(b *testing.B) {
	disk, err := fsys.OpenOS(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	j, err := Open(Options{FS: disk, Dir: "j"}, func(Record) {}, func(Damage) {})
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 600)
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range b.N {
				if err := j.Enqueue(true, nil, Record{Type: 1, Unit: "u", Payload: payload}).Wait(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	b.ReportMetric(float64(32*b.N)/b.Elapsed().Seconds(), "records/s")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}
