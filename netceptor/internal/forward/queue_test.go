package forward

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

func TestSendCutsSegments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		data    string
		segment int
		want    []string
	}{
		{"one packet", "abc", 0, []string{"habc"}},
		{"exact segments", "aabb", 2, []string{"haa", "hbb"}},
		{"short last one", "aab", 2, []string{"haa", "hb"}},
		{"segment larger than all", "ab", 9, []string{"hab"}},
		{"empty", "", 0, []string{"h"}},
		{"empty with a segment", "", 5, []string{"h"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			q := NewQueue(1 << 10)
			if !q.Send([]byte("h"), []byte(test.data), test.segment, 0) {
				t.Fatal("dropped")
			}
			q.Close()
			var got []string
			q.Consume(func(msg []byte) { got = append(got, string(msg)) })
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if queued, _ := q.Counts(); queued != uint64(len(test.want)) {
				t.Errorf("counted %d, want %d", queued, len(test.want))
			}
		})
	}
}

func TestQueueBounds(t *testing.T) {
	t.Parallel()
	q := NewQueue(100)
	q.Run(frame(nil, make([]byte, 120)), 1) // soft by one run
	q.Run(frame(nil, []byte("late")), 3)
	if q.Send([]byte("h"), []byte("late"), 2, 0) {
		t.Error("a full queue took a packet")
	}
	if queued, dropped := q.Counts(); queued != 1 || dropped != 5 {
		t.Errorf("%d queued and %d dropped, want 1 and 5", queued, dropped)
	}
	if !q.Control([]byte("control passes a full data lane")) {
		t.Error("control was dropped")
	}
	for i := 0; i <= controlQueue/wire.MaxMessage; i++ {
		q.Control(make([]byte, wire.MaxMessage))
	}
	if q.Control(make([]byte, wire.MaxMessage)) {
		t.Error("the control lane is not bounded")
	}
	if q.Send(make([]byte, wire.HeaderSize), make([]byte, wire.MaxMessage), 0, 0) {
		t.Error("took a message whose length does not fit")
	}
}

func TestSendWaits(t *testing.T) {
	t.Parallel()
	const wait = 20 * time.Millisecond
	full := func() *Queue {
		q := NewQueue(10)
		q.Send(nil, make([]byte, 20), 0, 0)
		return q
	}
	for _, test := range []struct {
		name string
		do   func(q *Queue)
		sent bool
		took time.Duration
	}{
		{"until it gives up", func(*Queue) {}, false, wait},
		{"until there is room", func(q *Queue) {
			time.Sleep(wait / 4)
			q.take(&lanes{})
		}, true, wait / 4},
		{"until the queue is closed", func(q *Queue) {
			time.Sleep(wait / 2)
			q.Close()
		}, false, wait / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := full()
				go test.do(q)
				start := time.Now()
				if sent := q.Send([]byte("h"), []byte("x"), 0, wait); sent != test.sent {
					t.Errorf("sent %v, want %v", sent, test.sent)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
			})
		})
	}
}

func TestCloseLetsTheRestOut(t *testing.T) {
	t.Parallel()
	q := NewQueue(100)
	q.Send([]byte("h"), []byte("rest"), 0, 0)
	q.Close()
	q.Close()
	if q.Control([]byte("x")) || q.Send(nil, []byte("x"), 0, time.Hour) {
		t.Error("a closed queue took something")
	}
	var got [][]byte
	q.Consume(func(msg []byte) { got = append(got, bytes.Clone(msg)) })
	if len(got) != 1 || string(got[0]) != "hrest" {
		t.Errorf("got %q", got)
	}
}
