package wire_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/project-receptor/receptor/plug/wire"
)

// bodies are the messages of plug/1 as they are on the wire, all fields set.
var bodies = map[string]struct {
	json string
	v    any
}{
	"hello": {
		`{"name":"tcp","program":"p","program_version":"1","process":"x","takeover":true,` +
			`"roles":[{"role":"link","versions":[1]}],"features":["f"],` +
			`"kinds":[{"kind":"k","aliases":[{"kind":"a","defaults":{"bindaddr":"localhost"}}],"role":"link","dir":"in","help":"h",` +
			`"params":[{"name":"port","type":"int","key":true,"required":true,"default":1,"bare":true,"repeat":true,"tls":"core","help":"h"}]}]}`,
		&wire.Hello{},
	},
	"welcome": {
		`{"node":"n","core_version":"1","session":"s","roles":[{"role":"link","version":1},{"role":"x","refused":"why"}],` +
			`"kinds":[{"kind":"k","refused":"why"}],"features":["f"],"limits":{"opens":1,"dataconn":2},"heartbeat_ms":5000}`,
		&wire.Welcome{},
	},
	"config":        {`{"revision":1,"items":[{"item":"k port=1","kind":"k","params":{"port":1},"live":[{"object":"o","remote":"r"}]}]}`, &wire.Config{}},
	"config result": {`{"errors":[{"item":"i","param":"p","msg":"m"}]}`, &wire.ConfigResult{}},
	"status":        {`{"state":"up","detail":"d","items":[{"item":"i","state":"failed","addr":"a","err":"e"}]}`, &wire.Status{}},
	"drain":         {`{"deadline_ms":1,"reason":"r"}`, &wire.Drain{}},
	"closed":        {`{"object":"o","code":"gone","msg":"m"}`, &wire.Closed{}},
	"cancel":        {`{"id":7}`, &wire.Cancel{}},
	"link":          {`{"session":"s","item":"i","dir":"in","local":"l","remote":"r","medium":"tcp"}`, &wire.Link{}},
	"opened":        {`{"object":"o"}`, &wire.Opened{}},
	"dial":          {`{"session":"s","item":"i","node":"n","service":"v","timeout_ms":1}`, &wire.Dial{}},
	"bind":          {`{"bind":"b","item":"i","service":"v","advertise":true,"tags":{"a":"b"}}`, &wire.Bind{}},
	"bound":         {`{"service":"v"}`, &wire.Bound{}},
	"unbind":        {`{"bind":"b"}`, &wire.Unbind{}},
	"accept":        {`{"bind":"b","object":"o","remote":{"node":"n","service":"v"}}`, &wire.Accept{}},
	"accepted":      {`{}`, &wire.Accepted{}},
	"attach":        {`{"session":"s","object":"o"}`, &wire.Attach{}},
	"reset":         {`{"code":"refused","msg":"m"}`, &wire.Reset{}},
	"pbind":         {`{"session":"s","item":"i","service":"v","advertise":true,"tags":{"a":"b"},"watch":{"c":"d"}}`, &wire.PBind{}},
	"pbound":        {`{"object":"o","node":"n","service":"v","mtu":1}`, &wire.PBound{}},
	"peer":          {`{"local":"l","node":"n","service":"v","mtu":1,"caps":["modern"]}`, &wire.Peer{}},
	"gone":          {`{"code":"unreachable","msg":"m"}`, &wire.Gone{}},
	"peers":         {`{"object":"o","peers":[{"node":"n","service":"v","tags":{"a":"b"},"cost":1,"mtu":2,"caps":["c"]}]}`, &wire.Peers{}},
	"worktype":      {`{"type":"t","item":"i","slots":2,"params":true}`, &wire.WorkType{}},
	"start":         {`{"unit":"u","type":"t","item":"i","params":{"a":"b"},"merged":true}`, &wire.Start{}},
	"unit": {
		`{"unit":"u","state":"exited","pid":1,"detail":"d","handle":{"a":1},"exit":{"code":1,"signal":"SIGKILL","oom_killed":true},` +
			`"reason":"r","out_bytes":1,"err_bytes":2}`,
		&wire.Unit{},
	},
	"units":     {`{"units":[{"unit":"u","state":"running","pid":1}]}`, &wire.Units{}},
	"stop":      {`{"unit":"u","grace_ms":1}`, &wire.Stop{}},
	"release":   {`{"unit":"u"}`, &wire.Release{}},
	"recover":   {`{"units":[{"unit":"u","handle":{"a":1}}]}`, &wire.Recover{}},
	"recovered": {`{"units":[{"unit":"u","state":"lost"}]}`, &wire.Recovered{}},
	"error":     {`{"code":"version","msg":"m","class":"never","path":"p","majors":[1],"retry_after_ms":5}`, &wire.Error{}},
}

// The names of fields are the protocol: a renamed one is seen here.
func TestBodies(t *testing.T) {
	t.Parallel()
	for name, c := range bodies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := reflect.New(reflect.TypeOf(c.v).Elem()).Interface()
			if err := json.Unmarshal([]byte(c.json), v); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(v)
			if err != nil || string(got) != c.json {
				t.Errorf("got  %s, %v\nwant %s", got, err, c.json)
			}
		})
	}
}

func FuzzBodies(f *testing.F) {
	for _, c := range bodies {
		f.Add([]byte(c.json))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, c := range bodies {
			v := reflect.New(reflect.TypeOf(c.v).Elem()).Interface()
			if json.Unmarshal(b, v) != nil {
				continue
			}
			if _, err := json.Marshal(v); err != nil {
				t.Errorf("%s: %s cannot be encoded again: %v", name, b, err)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for code, class := range map[string]string{
		wire.CodeVersion:     wire.ClassNever,
		wire.CodeUnsupported: wire.ClassNever,
		wire.CodeDenied:      wire.ClassFix,
		wire.CodeInvalid:     wire.ClassFix,
		wire.CodeGone:        wire.ClassGone,
		wire.CodeBusy:        wire.ClassRetry,
		wire.CodeExists:      wire.ClassRetry,
		wire.CodeInternal:    wire.ClassRetry,
	} {
		if e := wire.NewError(code, "x %d", 1); e.Class != class || e.Error() != code+": x 1" {
			t.Errorf("%s: %+v", code, e)
		}
	}
	if !wire.NewError(wire.CodeTimeout, "").Timeout() || wire.NewError(wire.CodeGone, "").Timeout() {
		t.Error("only code timeout is a timeout")
	}
}
