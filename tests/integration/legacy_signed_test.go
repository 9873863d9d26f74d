package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// workKey is an RSA key, and the files with its halves.
type workKey struct {
	*rsa.PrivateKey
	private, public string
}

func newWorkKey(t *testing.T, dir, name string) workKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	k := workKey{key, filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pub")}
	must(t, os.WriteFile(k.private, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
	must(t, os.WriteFile(k.public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	return k
}

// Signed work between ours and a model of an existing node, over a hop of ours, both
// ways: what is signed by the right key is run, read, ended and released, and nothing
// else is.
func TestSignedWorkWithLegacy(t *testing.T) {
	t.Parallel()
	m, w := newMixedWork(t, "ours")
	key, other := newWorkKey(t, m.Dir, "right"), newWorkKey(t, m.Dir, "wrong")
	work := legacy.NewWork(map[string]legacy.Worker{
		"signed": func(_ context.Context, _ string, stdin []byte, stdout io.Writer) error {
			_, err := stdout.Write(stdin)
			return err
		},
		"wait": func(ctx context.Context, _ string, _ []byte, _ io.Writer) error {
			<-ctx.Done()
			return context.Cause(ctx)
		},
	})
	t.Cleanup(work.Close)
	work.Verify = map[string]bool{"signed": true, "wait": true}
	work.VerifyingKey, work.SigningKey = &key.PublicKey, key.PrivateKey
	wrong := legacy.NewWork(nil)
	t.Cleanup(wrong.Close)
	wrong.SigningKey = other.PrivateKey
	near, far := freePort(t), freePort(t)
	w.start("receptor", append([]string{
		"--node", "id=ours", "--control-service", "service=control",
		"--work-signing", "privatekey=" + key.private, "--work-verification", "publickey=" + key.public,
		"--work-command", "worktype=cat", "command=cat", "verifysignature=true",
		"--work-command", "worktype=wait", "command=sleep", "params=1000", "verifysignature=true",
	}, dials(near)...)...)
	m.ours("hop", append(listens(near), listens(far)...)...)
	model := m.workModel("model", work, far)
	must(t, m.WaitRoute(m.ctx, "ours", "model"))
	m.reaches(model, "ours")
	w.offered("cat")
	w.offered("wait")

	t.Log("ours signs, the model verifies")
	submit := func(args ...string) (string, error) {
		return m.Ctl(m.ctx, "ours", append([]string{"work", "submit", "--node", "model"}, args...)...)
	}
	if out, err := submit("--signwork", "-f", "--rm", "-l", "hello", "signed"); err != nil || !strings.HasPrefix(out, "hello\n") {
		t.Errorf("%q, %v", out, err)
	}
	out, err := submit("--signwork", "-n", "wait")
	must(t, err)
	_, id, _ := strings.Cut(strings.TrimSpace(out), "Unit ID: ")
	m.eventually("the model runs it", func() bool { return strings.Contains(statuses(work), "Running") })
	if out, err := m.Ctl(m.ctx, "ours", "work", "cancel", id); err != nil {
		t.Errorf("cancel: %q, %v", out, err)
	}
	m.eventually("the model forgets the units", func() bool { return len(work.List()) == 0 }) // released, by a token
	if out, err := submit("-n", "signed"); err == nil || !strings.Contains(err.Error(), "could not verify signature: signature is empty") {
		t.Errorf("not signed: %q, %v", out, err)
	}

	t.Log("the model signs, ours verifies")
	denied := func() uint64 {
		s, err := m.Status(m.ctx, "ours")
		must(t, err)
		return s.Counters["work_requests_denied"]
	}
	before := denied()
	unit, result, err := work.SubmitSigned(model, "ours", "cat", nil, []byte("from the model"))
	must(t, err)
	var got bytes.Buffer
	must(t, work.Results(m.ctx, unit, 0, &got))
	if result != "Job Started" || got.String() != "from the model" {
		t.Errorf("%s, %q", result, &got)
	}
	long, _, err := work.SubmitSigned(model, "ours", "wait", nil, nil)
	must(t, err)
	if pending, err := work.Cancel(long); pending || err != nil {
		t.Errorf("cancel: %v, %v", pending, err)
	}
	for _, unit := range []string{unit, long} {
		if pending, err := work.Release(unit, false); pending || err != nil {
			t.Errorf("release: %v, %v", pending, err)
		}
	}
	l, err := w.c.List(m.ctx)
	must(t, err)
	for _, u := range l.Units {
		if u.Node == "" {
			t.Errorf("ours still has %+v", u)
		}
	}
	if n := denied(); n != before {
		t.Errorf("%d denied", n-before)
	}
	const refused = "could not parse response: ERROR: could not verify signature: "
	if _, _, err := work.Submit(model, "ours", "cat", nil, nil); err == nil || err.Error() != refused+"signature is empty" {
		t.Errorf("not signed: %v", err)
	}
	if _, _, err := wrong.SubmitSigned(model, "ours", "cat", nil, nil); err == nil || !strings.HasPrefix(err.Error(), refused) || !strings.Contains(err.Error(), "verification error") {
		t.Errorf("by another key: %v", err)
	}
	if n := denied(); n != before+2 {
		t.Errorf("%d denied, want 2", n-before)
	}

	t.Log("ours signs, the model has another key")
	must(t, model.Close())
	must(t, m.WaitStatus(m.ctx, "ours", func(s *lab.Status) bool { return s.RoutingTable["model"] == "" }))
	work.VerifyingKey = &other.PublicKey
	m.reaches(m.workModel("model", work, far), "ours")
	must(t, m.WaitRoute(m.ctx, "ours", "model"))
	if out, err := submit("--signwork", "-n", "signed"); err == nil || !strings.Contains(err.Error(), "could not verify signature: crypto/rsa: verification error") {
		t.Errorf("by another key: %q, %v", out, err)
	}
}

// statuses are the states of a model's units.
func statuses(work *legacy.Work) string {
	var all []string
	for _, s := range work.List() {
		all = append(all, s.StateName)
	}
	return strings.Join(all, " ")
}
