package workceptor_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// What a legacy node has signed is taken as it was recorded, by a node with the name,
// the key and the time of then; not later, and not with any character changed.
func TestRecordedSignatures(t *testing.T) {
	t.Parallel()
	var recorded struct{ Signed struct{ Events []step } }
	vector(t, "06b-mesh-work-conversation.json", &recorded)
	var hashes struct {
		JWT struct {
			Token  string
			Claims struct{ Exp int64 }
			Key    string `json:"public_key_pem"`
		}
	}
	vector(t, "09-hashes-san-jwt.json", &hashes)
	key, err := workceptor.ParseVerifyingKey([]byte(hashes.JWT.Key))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Unix(hashes.JWT.Claims.Exp, 0)
	var now atomic.Pointer[time.Time]
	at := func(t time.Time) { now.Store(&t) }
	at(time.Date(2026, 11, 22, 17, 4, 25, 0, time.UTC)) // of the recording, ten hours before the end

	n := &node{t: t, worker: &workertest.Worker{Run: workertest.Echo}, types: []workceptor.WorkType{{Name: "signed", Secure: true}}}
	n.config = workceptor.Config{
		Dir: t.TempDir() + "/units", NodeID: "fake", Reserve: 1, VerifyingKey: key,
		Now: func() time.Time { return *now.Load() },
	}
	n.open()
	t.Cleanup(func() {
		n.close()
		n.worker.Wait()
	})
	said := map[int][]string{} // per connection
	for _, s := range recorded.Signed.Events {
		if strings.HasPrefix(s.From, "upstream") {
			said[s.Conn] = append(said[s.Conn], s.Text)
		}
	}
	line, payload := said[1][0], said[1][1]
	if !strings.Contains(line, `"`+hashes.JWT.Token+`"`) {
		t.Fatal("the two recordings have not the same token")
	}
	submitted := func() (id string) {
		t.Helper()
		c := converse(t, n, false)
		c.send(line)
		id = c.expect("Work unit created with ID <ID>. Send stdin data and EOF.\n")
		c.send(payload)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.expect(`{"result":"Job Started","unitid":"` + id + `"}` + "\n")
		return id
	}
	id := submitted()
	for conn, want := range map[int]string{3: payload, 4: payload[6:]} { // from bytes 0 and 6, as the other unit wrote
		c := converse(t, n, false)
		c.send(strings.ReplaceAll(said[conn][0], "FAKEUNIT", id))
		c.expect("Streaming results for work unit " + id + "\n")
		if rest := c.rest(); rest != want {
			t.Errorf("connection %d: %q, expected %q", conn, rest, want)
		}
	}

	c := converse(t, n, false)
	refused := func(line string) string {
		c.send(line)
		answer := c.line()
		if !strings.HasPrefix(answer, "ERROR: could not verify signature: ") {
			t.Errorf("%s: %s", line, answer)
		}
		return answer
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i, char := range []byte(hashes.JWT.Token) {
		other := byte('A')
		if place := strings.IndexByte(alphabet, char); place >= 0 {
			other = alphabet[place^32] // the last character has bits that mean nothing; this is none of them
		}
		changed := []byte(hashes.JWT.Token)
		changed[i] = other
		refused(strings.Replace(line, hashes.JWT.Token, string(changed), 1))
	}

	at(end.Add(time.Minute - time.Second)) // clocks may differ by a minute
	submitted()
	at(end.Add(time.Minute + time.Second))
	if answer := refused(line); !strings.Contains(answer, "token is expired") {
		t.Errorf("after its end: %s", answer)
	}
	for _, conn := range []int{3, 4} { // were signed some seconds later
		c := converse(t, n, false)
		c.send(strings.ReplaceAll(said[conn][0], "FAKEUNIT", id))
		c.expect("Streaming results for work unit " + id + "\n")
	}
	if units := len(n.List()); units != 2 {
		t.Errorf("%d units", units)
	}
}
