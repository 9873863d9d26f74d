package legacy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// hexBytes is bytes as the vectors have them.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// vectorMessage is a message of a vector.
type vectorMessage struct {
	Sender  string
	Comment string
	TMs     float64  `json:"t_ms"`
	Message hexBytes `json:"message_hex"`
	Frame   hexBytes `json:"tcp_frame_hex"`
	Decoded json.RawMessage
}

// decoded is what the vector says of it. Some leave out the type.
func (m *vectorMessage) decoded(t *testing.T) json.RawMessage {
	t.Helper()
	var d struct {
		JSON json.RawMessage
	}
	if err := json.Unmarshal(m.Decoded, &d); err != nil {
		t.Fatal(err)
	}
	if d.JSON == nil {
		return m.Decoded
	}
	return d.JSON
}

type vectorGroup struct {
	Name     string
	Messages []vectorMessage
	In, Out  []vectorMessage
	OutOwn   []vectorMessage `json:"out_own"`
}

type vectorFile struct {
	Messages []vectorMessage
	Groups   []vectorGroup
	UDP      []vectorMessage
}

// vectors is where the recorded conversations are: data, which the model may
// share with what it is to check.
const vectors = "../../netceptor/internal/wire/testdata/vectors"

func readVector(t *testing.T, name string, v any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// all are the messages of a file, those that a legacy node sent and those that a
// tool did.
func (f *vectorFile) all() []vectorMessage {
	list := append(append([]vectorMessage(nil), f.Messages...), f.UDP...)
	for _, g := range f.Groups {
		for _, more := range [][]vectorMessage{g.Messages, g.In, g.Out, g.OutOwn} {
			list = append(list, more...)
		}
	}
	return list
}

// written tells whether a legacy node wrote the bytes itself: it relays
// advertisements as they came, and tools have their own order of keys.
func (m *vectorMessage) written() bool {
	return !bytes.Contains([]byte(m.Sender), []byte("test tool")) && !bytes.Contains(m.Message, []byte(`"Zed"`)) &&
		!bytes.HasPrefix(m.Message, []byte("\x02{\"Service\""))
}

// Every message of the vectors is read as the vector says; and what a legacy
// node sent is what the model makes of those values.
func TestVectorMessages(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(vectors + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	played := 0
	for _, file := range files {
		if filepath.Base(file) == "09-hashes-san-jwt.json" {
			continue // no messages
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			var v vectorFile
			readVector(t, filepath.Base(file), &v)
			all := v.all()
			for i := range all {
				m := &all[i]
				playMessage(t, m)
				if len(m.Frame) > 0 {
					playFrame(t, m)
				}
				played++
			}
		})
	}
	if played < 40 {
		t.Errorf("%d messages only", played)
	}
}

func playMessage(t *testing.T, m *vectorMessage) {
	t.Helper()
	var again []byte
	switch m.Message[0] {
	case typeRouting:
		got, err := parseUpdate(m.Message)
		if err != nil {
			t.Fatalf("%s: %v", m.Message, err)
		}
		var want Update
		decode(t, m.decoded(t), &want)
		equalJSON(t, *got, want)
		again = want.Append(nil)
	case typeAdvert:
		got, err := parseAdvert(m.Message)
		if err != nil {
			t.Fatalf("%s: %v", m.Message, err)
		}
		var want Advert
		decode(t, m.decoded(t), &want)
		equalJSON(t, *got, want)
		again = want.Append(nil)
	case typeReject:
		again = rejectMessage[:]
	case typeData:
		again = playData(t, m)
	default:
		t.Fatalf("message type %d", m.Message[0])
	}
	if m.written() && !bytes.Equal(again, m.Message) {
		t.Errorf("the model writes\n%q, legacy\n%q", again, m.Message)
	}
}

func playData(t *testing.T, m *vectorMessage) []byte {
	t.Helper()
	got, err := parseMessage(m.Message)
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		TTL         uint8
		FromHash    hexBytes `json:"from_hash"`
		ToHash      hexBytes `json:"to_hash"`
		FromService string   `json:"from_service"`
		ToService   string   `json:"to_service"`
		PayloadLen  int      `json:"payload_len"`
		PayloadJSON *Notice  `json:"payload_json"`
	}
	decode(t, m.Decoded, &want)
	header := got.Append(nil)
	if got.hops != want.TTL || !bytes.Equal(header[4:12], want.FromHash) || !bytes.Equal(header[12:20], want.ToHash) ||
		got.fromService != want.FromService || got.toService != want.ToService || len(got.payload) != want.PayloadLen {
		t.Errorf("read %+v, expected %+v", got, want)
	}
	if want.PayloadJSON != nil {
		var notice Notice
		decode(t, got.payload, &notice)
		if notice != *want.PayloadJSON {
			t.Errorf("read the notice %+v, expected %+v", notice, *want.PayloadJSON)
		}
		text, err := json.Marshal(want.PayloadJSON)
		if err != nil {
			t.Fatal(err)
		}
		got.payload = text // must be the bytes that legacy wrote
	}
	return got.Append(nil)
}

// playFrame reads the frame, and no prefix of it.
func playFrame(t *testing.T, m *vectorMessage) {
	t.Helper()
	if again := appendFrame(nil, m.Message); !bytes.Equal(again, m.Frame) {
		t.Errorf("the frame is %x, expected %x", again, m.Frame)
	}
	msg, err := readFrame(bytes.NewReader(m.Frame))
	if err != nil || !bytes.Equal(msg, m.Message) {
		t.Errorf("read %x, %v", msg, err)
	}
	for i := range m.Frame {
		if msg, err := readFrame(bytes.NewReader(m.Frame[:i])); err == nil {
			t.Fatalf("%d bytes of a frame of %d are %x", i, len(m.Frame), msg)
		}
	}
}

func decode(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// equalJSON compares what no operator does.
func equalJSON(t *testing.T, got, want any) {
	t.Helper()
	if g, w := appendJSON(nil, got), appendJSON(nil, want); !bytes.Equal(g, w) {
		t.Errorf("read\n%s, expected\n%s", g, w)
	}
}

// The names of vector 09 have the hashes that it says.
func TestVectorHashes(t *testing.T) {
	t.Parallel()
	var v struct {
		Hashes struct{ Values map[string]hexBytes } `json:"node_id_hash"`
	}
	readVector(t, "09-hashes-san-jwt.json", &v)
	for name, want := range v.Hashes.Values {
		m := message{from: Hash(name)}
		if got := m.Append(nil)[4:12]; !bytes.Equal(got, want) {
			t.Errorf("the hash of %q is %x, expected %x", name, got, want)
		}
	}
	if len(v.Hashes.Values) == 0 {
		t.Error("no values")
	}
}
