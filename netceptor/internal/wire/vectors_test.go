package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A vector is one message recorded from a legacy node, or sent to one.
type vector struct {
	name    string // file and place in it
	message []byte
	frame   []byte // with length, where recorded
	foreign bool   // not built by a legacy node: made by a test tool, or its bytes passed on
	decoded map[string]any
}

// vectors reads all messages of all files in testdata/vectors.
func vectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors:", err)
	}
	var all []vector
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var content any
		if err := d.Decode(&content); err != nil {
			t.Fatal(file, err)
		}
		all = collect(t, all, filepath.Base(file), content, false)
	}
	return all
}

func collect(t testing.TB, all []vector, name string, v any, foreign bool) []vector {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			all = collect(t, all, name+"/"+string(rune('a'+i)), e, foreign)
		}
	case map[string]any:
		if text, ok := v["name"].(string); ok {
			name += "/" + text
			foreign = foreign || strings.HasPrefix(text, "relay:")
		}
		sender, _ := v["sender"].(string)
		foreign = foreign || strings.Contains(sender, "test tool")
		if text, ok := v["message_hex"].(string); ok {
			vec := vector{name: name, message: unhex(t, text), foreign: foreign}
			if text, ok := v["tcp_frame_hex"].(string); ok {
				vec.frame = unhex(t, text)
			}
			vec.decoded, _ = v["decoded"].(map[string]any)
			return append(all, vec)
		}
		for key, e := range v {
			all = collect(t, all, name+"/"+key, e, foreign)
		}
	}
	return all
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rebuild parses a message of any type and appends it again.
func rebuild(m []byte) ([]byte, error) {
	if len(m) == 0 {
		return nil, errEmpty
	}
	switch m[0] {
	case TypeData:
		h, err := ParseHeader(m)
		if err != nil {
			return nil, err
		}
		return append(h.Append(nil), m[HeaderSize:]...), nil
	case TypeRoute:
		u, err := ParseRoutingUpdate(m)
		if err != nil {
			return nil, err
		}
		return u.Append(nil), nil
	case TypeAdvert:
		a, err := ParseAdvert(m)
		if err != nil {
			return nil, err
		}
		return a.Append(nil), nil
	default:
		return AppendReject(nil), nil
	}
}

func TestVectorsRoundTrip(t *testing.T) {
	t.Parallel()
	types := map[byte]int{}
	for _, v := range vectors(t) {
		types[v.message[0]]++
		got, err := rebuild(v.message)
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		if !v.foreign && !bytes.Equal(got, v.message) {
			t.Errorf("%s: rebuilt\n got %q\nwant %q", v.name, got, v.message)
		}
		if v.frame == nil {
			continue
		}
		if f := AppendFrame(nil, v.message); !bytes.Equal(f, v.frame) {
			t.Errorf("%s: framed\n got %x\nwant %x", v.name, f, v.frame)
		}
		message, rest, ok := CutFrame(append(bytes.Clone(v.frame), 7))
		if !ok || !bytes.Equal(message, v.message) || !bytes.Equal(rest, []byte{7}) {
			t.Errorf("%s: cut to %x and %x, %v", v.name, message, rest, ok)
		}
	}
	if types[TypeData] < 10 || types[TypeRoute] < 10 || types[TypeAdvert] < 10 || types[TypeReject] < 1 {
		t.Errorf("vectors of each type: %v", types)
	}
}

// Every prefix of every recorded message is an error, but for data messages cut
// behind their header, and never a panic.
func TestVectorsTruncated(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		for n := range v.message {
			if n > 0 && v.message[0] == TypeData && n >= HeaderSize || n > 0 && v.message[0] == TypeReject {
				continue
			}
			if _, err := rebuild(v.message[:n]); err == nil {
				t.Errorf("%s: the first %d bytes were accepted", v.name, n)
			}
		}
		for n := range v.frame {
			if message, rest, ok := CutFrame(v.frame[:n]); ok || message != nil || len(rest) != n {
				t.Errorf("%s: the first %d bytes of the frame were cut to %x", v.name, n, message)
			}
		}
	}
}

func TestVectorsHash(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/vectors/09-hashes-san-jwt.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Hashes struct {
			Values map[string]string `json:"values"`
		} `json:"node_id_hash"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Hashes.Values) < 10 {
		t.Fatalf("only %d hashes", len(file.Hashes.Values))
	}
	for id, want := range file.Hashes.Values {
		got := (&Header{To: NodeHash(id)}).Append(nil)[offTo : offTo+8]
		if hex.EncodeToString(got) != want {
			t.Errorf("hash of %q is %x, want %s", id, got, want)
		}
	}
}
