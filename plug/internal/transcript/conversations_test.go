//go:build unix

package transcript_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/project-receptor/receptor/plug/internal/transcript"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// What both sides say, always the same.
var (
	linkKind = wire.Kind{
		Kind: "ex-peer", Role: wire.RoleLink, Dir: "out", Help: "make a link",
		Aliases: []wire.Alias{{Kind: "ex-dial", Defaults: map[string]any{"redial": false}}},
		Params: []wire.Param{
			{Name: "address", Type: "address", Key: true, Required: true, Bare: true, Help: "host:port to connect to"},
			{Name: "redial", Type: "bool", Default: true, Help: "make the next link when one has ended"},
			{Name: "tls", Type: "string", Repeat: true, TLS: "plug", Help: "names of TLS items"},
		},
	}
	streamKind = wire.Kind{
		Kind: "ex-server", Role: wire.RoleStream, Dir: "in", Help: "carry what comes to a port",
		Params: []wire.Param{{Name: "port", Type: "port", Key: true, Required: true, Help: "TCP port to listen on"}},
	}

	hello = wire.Hello{
		Name: "example", Program: "receptor-example", ProgramVersion: "v1.2.3", Process: "0123456789abcdef",
		Roles: []wire.RoleVersions{{Role: wire.RoleLink, Versions: []int{1, 2}}, {Role: wire.RoleStream, Versions: []int{1}}},
		Kinds: []wire.Kind{linkKind, streamKind},
	}
	welcomed = wire.Welcome{
		Node: "alpha", CoreVersion: "v4.5.6", Session: "00112233445566778899aabbccddeeff",
		Roles:  []wire.RoleGrant{{Role: wire.RoleLink, Version: 1}, {Role: wire.RoleStream, Version: 1}},
		Limits: wire.Limits{Opens: 4096, DataConn: 4096}, HeartbeatMS: 5000,
	}
	helloFDs, welcomedFDs = withFDPass(hello, welcomed)

	items = wire.Config{Revision: 1, Items: []wire.ConfigItem{
		{Item: "ex-peer address=10.0.0.1:2222", Kind: "ex-peer", Params: json.RawMessage(`{"address":"10.0.0.1:2222","redial":true}`)},
		{Item: "ex-server port=8080", Kind: "ex-server", Params: json.RawMessage(`{"port":8080}`)},
	}}
	link = wire.Link{
		Session: welcomed.Session, Item: "ex-peer address=10.0.0.1:2222", Dir: "out",
		Local: "10.0.0.2:40000", Remote: "10.0.0.1:2222", Medium: "tcp",
	}
	dial     = wire.Dial{Session: welcomed.Session, Item: "ex-server port=8080", Node: "beta", Service: "web", TimeoutMS: 15000}
	bind     = wire.Bind{Bind: "ex-server web", Item: "ex-server port=8080", Service: "web", Advertise: true, Tags: map[string]string{"type": "web"}}
	accept   = wire.Accept{Bind: bind.Bind, Object: "object-1", Remote: wire.RemoteAddr{Node: "beta", Service: "abcd1234"}}
	attachTo = wire.Attach{Session: welcomed.Session, Object: "object-1"}
	kept     = wire.Keep{Item: "ex-server port=8080", Key: "tcp :8080"}

	launcher = wire.Hello{
		Name: "launcher", Program: "receptor", ProgramVersion: "v1.2.3", Process: "0123456789abcdef",
		Roles: []wire.RoleVersions{{Role: wire.RoleObserve, Versions: []int{1}}}, Kinds: []wire.Kind{},
	}
	launcherWelcomed = wire.Welcome{
		Node: "alpha", CoreVersion: "v4.5.6", Session: welcomed.Session,
		Roles:  []wire.RoleGrant{{Role: wire.RoleObserve, Version: 1}},
		Limits: welcomed.Limits, HeartbeatMS: 5000,
	}
	looked = wire.Looked{Items: "5d41402abc4b2a76", Plugs: []wire.AttachedPlug{
		{Name: "launcher", Program: "receptor", UID: 1000, PID: 4242, Kinds: []string{}},
		{Name: "example", Program: "receptor-example", UID: -1, Kinds: []string{"ex-peer", "ex-server"}},
	}}

	worker = wire.Hello{
		Name: "worker", Program: "receptor-worker", ProgramVersion: "v1.2.3", Process: "0123456789abcdef",
		Roles: []wire.RoleVersions{{Role: wire.RoleWorker, Versions: []int{1}}}, Features: []string{wire.FeatureFDPass},
		Kinds: []wire.Kind{{Kind: "ex-work", Role: wire.RoleWorker, Help: "run units of work", Params: []wire.Param{
			{Name: "worktype", Type: "string", Key: true, Required: true, Help: "type of work"},
		}}},
	}
	workerWelcomed = wire.Welcome{
		Node: "alpha", CoreVersion: "v4.5.6", Session: welcomed.Session,
		Roles: []wire.RoleGrant{{Role: wire.RoleWorker, Version: 1}}, Features: worker.Features,
		Limits: welcomed.Limits, HeartbeatMS: 5000,
	}
	workType   = wire.WorkType{Type: "shell", Item: "ex-work worktype=shell", Slots: 2, Params: true}
	start      = wire.Start{Unit: "aB3dE6gH", Type: "shell", Item: workType.Item, Params: map[string]string{"params": "-c true"}}
	runs       = wire.Unit{Unit: start.Unit, State: wire.UnitRunning, PID: 4242, Detail: "pid 4242", Handle: json.RawMessage(`{"boot":"b","pid":4242}`)}
	grows      = wire.Unit{Unit: start.Unit, State: wire.UnitRunning, PID: 4242, OutBytes: 1000, ErrBytes: 1}
	exits      = wire.Unit{Unit: start.Unit, State: wire.UnitExited, Exit: &wire.Exit{Code: 3}, OutBytes: 2000, ErrBytes: 1}
	killed     = wire.Unit{Unit: "merged00", State: wire.UnitExited, Exit: &wire.Exit{Code: 137, Signal: "SIGKILL", OOMKilled: true}, Reason: "out of memory"}
	losesTrack = wire.Unit{Unit: "lost0000", State: wire.UnitLost, Reason: "the machine was restarted"}
	known      = wire.Recover{Units: []wire.KnownUnit{{Unit: start.Unit, Handle: runs.Handle}, {Unit: "lost0000"}, {Unit: "never000"}}}
	recovered  = wire.Recovered{Units: []wire.Unit{exits, losesTrack}}

	object = map[string]any{"object": "object-1"}
	none   = map[string]any{}
)

func withFDPass(h wire.Hello, w wire.Welcome) (wire.Hello, wire.Welcome) {
	h.Features, w.Features = []string{wire.FeatureFDPass}, []string{wire.FeatureFDPass}
	return h, w
}

// conversation is what both sides say.
type conversation struct {
	about      string
	plug, core transcript.Script
}

// conversations are all that there are transcripts of, by the names of these.
var conversations = map[string]conversation{
	"session": {
		"A session starts, is configured, and ends in order: HELLO, WELCOME, CONFIG, STATUS, PING.",
		func(s *transcript.Stage) {
			t := attach(s, hello, withRefusals(welcomed))
			t.reply(t.next(wire.TypeConfig, items), wire.ConfigResult{})
			s.Must(t.Notify(wire.TypeStatus, wire.Status{State: wire.StateUp, Items: []wire.ItemStatus{
				{Item: items.Items[0].Item, State: wire.StateDegraded, Addr: "10.0.0.1:2222", Err: "connection refused"},
				{Item: items.Items[1].Item, State: wire.StateUp, Addr: "[::]:8080"},
			}}))
			t.reply(t.next(wire.TypeConfig, wire.Config{Revision: 2, Items: items.Items[:1]}), wire.ConfigResult{
				Errors: []wire.ItemError{{Item: items.Items[0].Item, Param: "address", Msg: "expected host:port"}},
			})
			t.ask(wire.TypePing, nil, none)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, withRefusals(welcomed))
			t.ask(wire.TypeConfig, items, none)
			t.next(wire.TypeStatus, nil)
			t.ask(wire.TypePing, nil, none)
			t.ask(wire.TypeConfig, wire.Config{Revision: 2, Items: items.Items[:1]}, map[string]any{
				"errors": []any{map[string]any{"item": items.Items[0].Item, "msg": "expected host:port", "param": "address"}},
			})
			s.Await(5) // the last is the answer to the plug's PING
			t.end()
		},
	},
	"hello-refused": {
		"A HELLO is refused.",
		func(s *transcript.Stage) {
			conn := s.Dial()
			_, err := session.Attach(s.Context(), conn, hello)
			s.Equal(err, error(nameTaken()))
			ends(s, conn)
		},
		func(s *transcript.Stage) {
			conn := s.Accept()
			o, err := session.Accept(s.Context(), conn)
			s.Must(err)
			got(s, o.Decode, hello)
			s.Must(o.Refuse(nameTaken()))
			s.Must(conn.Close())
		},
	},
	"version-newer-core": {
		"A core that no longer speaks major 1 says so.",
		func(s *transcript.Stage) {
			conn := s.Dial()
			_, err := session.Attach(s.Context(), conn, hello)
			s.Equal(err, error(otherMajor("major 1 is not spoken here", 2, 3)))
			ends(s, conn)
		},
		func(s *transcript.Stage) { // a core of the future
			conn := s.Accept()
			hear(s, conn, string(wire.Preamble{Major: 1, Kind: wire.ConnSession}.Append(nil)))
			f, err := plugtest.ReadFrame(conn)
			s.Must(err)
			s.Equal(f.Type, wire.TypeHello)
			say(s, conn, string(wire.Preamble{Major: 3, Kind: wire.ConnSession}.Append(nil)))
			b, err := json.Marshal(otherMajor("major 1 is not spoken here", 2, 3))
			s.Must(err)
			say(s, conn, string(plugtest.Frame(wire.TypeError, 0, 0, string(b))))
			s.Must(conn.Close())
		},
	},
	"version-newer-plug": {
		"A plug of a major that the core does not speak is told so.",
		func(s *transcript.Stage) { // a plug of the future
			conn := s.Dial()
			say(s, conn, string(wire.Preamble{Major: 2, Kind: wire.ConnSession}.Append(nil)))
			hear(s, conn, string(wire.Preamble{Major: 1, Kind: wire.ConnSession}.Append(nil)))
			f, err := plugtest.ReadFrame(conn)
			s.Must(err)
			s.Equal(f.Type, wire.TypeError)
			ends(s, conn)
		},
		func(s *transcript.Stage) {
			conn := s.Accept()
			_, err := session.Accept(s.Context(), conn)
			s.Equal(err, error(otherMajor("wire major 2 is not spoken here", 1)))
			s.Must(conn.Close())
		},
	},
	"link-relay": {
		"A link over a data connection: LINK, bytes both ways, the end.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			c := open(s, wire.TypeLink, link)
			say(s, c, "\x05\x00from the plug")
			hear(s, c, "\x05\x00from the core")
			s.Must(c.Close())
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			c := opened(s, wire.TypeLink, link)
			hear(s, c, "\x05\x00from the plug")
			say(s, c, "\x05\x00from the core")
			ends(s, c)
			t.end()
		},
	},
	"link-refused": {
		"LINK over a data connection is refused.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			_, err := session.Open(s.Context(), s.Dial(), wire.TypeLink, link)
			s.Equal(err, error(wire.NewError(wire.CodeDenied, "not allowed by plugs-policy")))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			c, o := opening(s, wire.TypeLink, link)
			s.Must(o.Refuse(wire.NewError(wire.CodeDenied, "not allowed by plugs-policy")))
			s.Must(c.Close())
			s.Await(3) // WELCOME, the refusal and the end
			t.end()
		},
	},
	"link-hand-off": {
		"A link's socket is handed over, with what was read of it; its end is told by CLOSED. Another one is refused.",
		func(s *transcript.Stage) {
			t := attach(s, helloFDs, welcomedFDs)
			t.ask(wire.TypeLink, withResidual(link), object, sock(s))
			t.next(wire.TypeClosed, wire.Closed{Object: "object-1", Code: wire.CodeGone, Msg: "connection reset"})
			t.ask(wire.TypeLink, link, wire.NewError(wire.CodeUnsupported, "relay it"), sock(s))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, helloFDs, welcomedFDs)
			m := t.next(wire.TypeLink, withResidual(link))
			s.Equal(len(m.Files), 1)
			t.reply(m, wire.Opened{Object: "object-1"})
			s.Must(t.Notify(wire.TypeClosed, wire.Closed{Object: "object-1", Code: wire.CodeGone, Msg: "connection reset"}))
			t.refuse(t.next(wire.TypeLink, link), wire.NewError(wire.CodeUnsupported, "relay it"))
			t.end()
		},
	},
	"link-live": {
		"A process learns of a link that an earlier one has handed over, and of its end.",
		func(s *transcript.Stage) {
			t := attach(s, helloFDs, welcomedFDs)
			t.reply(t.next(wire.TypeConfig, withLive(items)), wire.ConfigResult{})
			t.next(wire.TypeClosed, wire.Closed{Object: "object-1"})
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, helloFDs, welcomedFDs)
			t.ask(wire.TypeConfig, withLive(items), none)
			s.Must(t.Notify(wire.TypeClosed, wire.Closed{Object: "object-1"}))
			t.end()
		},
	},
	"dial-relay": {
		"A stream out of the plug: DIAL, records both ways, each direction ends.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			c := stream(open(s, wire.TypeDial, dial))
			say(s, c, "a question")
			s.Must(c.CloseWrite())
			hear(s, c, "an answer")
			ends(s, c)
			s.Must(c.Close())
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			raw := opened(s, wire.TypeDial, dial)
			c := stream(raw)
			hear(s, c, "a question")
			ends(s, c)
			say(s, c, "an answer")
			s.Must(c.CloseWrite())
			ends(s, raw)
			t.end()
		},
	},
	"dial-refused": {
		"DIAL is refused, as there is no way to the node.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			_, err := session.Open(s.Context(), s.Dial(), wire.TypeDial, dial)
			s.Equal(err, error(wire.NewError(wire.CodeUnreachable, "no route to node beta")))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			c, o := opening(s, wire.TypeDial, dial)
			s.Must(o.Refuse(wire.NewError(wire.CodeUnreachable, "no route to node beta")))
			s.Must(c.Close())
			s.Await(3) // WELCOME, the refusal and the end
			t.end()
		},
	},
	"dial-hand-off": {
		"An application's socket is handed over with DIAL; for another one the service is not there.",
		func(s *transcript.Stage) {
			t := attach(s, helloFDs, welcomedFDs)
			t.ask(wire.TypeDial, dial, object, sock(s))
			t.ask(wire.TypeDial, dial, wire.NewError(wire.CodeRefused, "nobody has bound web"), sock(s))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, helloFDs, welcomedFDs)
			m := t.next(wire.TypeDial, dial)
			s.Equal(len(m.Files), 1)
			t.reply(m, wire.Opened{Object: "object-1"})
			t.refuse(t.next(wire.TypeDial, dial), wire.NewError(wire.CodeRefused, "nobody has bound web"))
			t.end()
		},
	},
	"accept-relay": {
		"A service is bound, a stream arrives and is attached to, another one is refused, the service is given up.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			t.ask(wire.TypeBind, bind, map[string]any{"service": "web"})
			t.reply(t.next(wire.TypeAccept, accept), wire.Accepted{})
			c := stream(open(s, wire.TypeAttach, attachTo))
			hear(s, c, "a question")
			ends(s, c)
			say(s, c, "an answer")
			s.Must(c.CloseWrite())
			s.Must(c.Close())
			t.refuse(t.next(wire.TypeAccept, accept), wire.NewError(wire.CodeRefused, "connection refused"))
			t.ask(wire.TypeUnbind, wire.Unbind{Bind: bind.Bind}, none)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			t.reply(t.next(wire.TypeBind, bind), wire.Bound{Service: "web"})
			t.ask(wire.TypeAccept, accept, none)
			raw := opened(s, wire.TypeAttach, attachTo)
			c := stream(raw)
			say(s, c, "a question")
			s.Must(c.CloseWrite())
			hear(s, c, "an answer")
			ends(s, c)
			ends(s, raw)
			t.ask(wire.TypeAccept, accept, wire.NewError(wire.CodeRefused, "connection refused"))
			t.reply(t.next(wire.TypeUnbind, wire.Unbind{Bind: bind.Bind}), nil)
			t.end()
		},
	},
	"accept-hand-off": {
		"A stream arrives, and the plug hands over the socket of its target.",
		func(s *transcript.Stage) {
			t := attach(s, helloFDs, welcomedFDs)
			t.ask(wire.TypeBind, bind, map[string]any{"service": "web"})
			t.reply(t.next(wire.TypeAccept, accept), wire.Accepted{}, sock(s))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, helloFDs, welcomedFDs)
			t.reply(t.next(wire.TypeBind, bind), wire.Bound{Service: "web"})
			files, err := t.CallFiles(s.Context(), wire.TypeAccept, accept, nil, nil)
			s.Must(err)
			s.Equal(len(files), 1)
			s.Must(files[0].Close())
			t.end()
		},
	},
	"keep-take": {
		"A listener is kept while its plug restarts, and taken again; what was never kept is not there.",
		func(s *transcript.Stage) {
			t := attach(s, helloFDs, welcomedFDs)
			t.ask(wire.TypeKeep, kept, none, sock(s))
			t.end()
			again := helloFDs
			again.Process = "fedcba9876543210"
			t = attach(s, again, welcomedFDs)
			files, err := t.CallFiles(s.Context(), wire.TypeTake, wire.Take(kept), nil, nil)
			s.Must(err)
			s.Equal(len(files), 1)
			s.Must(files[0].Close())
			t.ask(wire.TypeTake, wire.Take{Item: kept.Item, Key: "other"}, wire.NewError(wire.CodeNotFound, "nothing is kept"))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, helloFDs, welcomedFDs)
			m := t.next(wire.TypeKeep, kept)
			s.Equal(len(m.Files), 1)
			listener := m.TakeFiles()[0]
			t.reply(m, nil)
			t.gone()
			again := helloFDs
			again.Process = "fedcba9876543210"
			t = welcome(s, again, welcomedFDs)
			t.reply(t.next(wire.TypeTake, wire.Take(kept)), nil, listener)
			t.refuse(t.next(wire.TypeTake, wire.Take{Item: kept.Item, Key: "other"}), wire.NewError(wire.CodeNotFound, "nothing is kept"))
			t.end()
		},
	},
	"takeover": {
		"A second process takes over: the first is drained, and its session closed.",
		func(s *transcript.Stage) {
			older := attach(s, hello, welcomed)
			older.reply(older.next(wire.TypeConfig, items), wire.ConfigResult{})
			newer := attach(s, second(), welcomed)
			older.reply(older.next(wire.TypeDrain, takeoverDrain), nil)
			newer.reply(newer.next(wire.TypeConfig, items), wire.ConfigResult{})
			older.gone()
			newer.gone()
		},
		func(s *transcript.Stage) {
			older := welcome(s, hello, welcomed)
			older.ask(wire.TypeConfig, items, none)
			newer := welcome(s, second(), welcomed)
			s.Await(3) // WELCOME, CONFIG and WELCOME
			older.ask(wire.TypeDrain, takeoverDrain, none)
			newer.ask(wire.TypeConfig, items, none)
			s.Sends(2, func() { older.Close(wire.NewError(wire.CodeDraining, "a newer process has taken over")) })
			newer.end()
		},
	},
	"drain": {
		"Each side tells the other that it takes on nothing new.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			t.reply(t.next(wire.TypeDrain, wire.Drain{DeadlineMS: 30000, Reason: "the node stops"}), nil)
			t.ask(wire.TypeDrain, wire.Drain{Reason: "an upgrade"}, none)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			t.ask(wire.TypeDrain, wire.Drain{DeadlineMS: 30000, Reason: "the node stops"}, none)
			t.reply(t.next(wire.TypeDrain, wire.Drain{Reason: "an upgrade"}), nil)
			t.end()
		},
	},
	"cancel": {
		"Each side withdraws a request: CANCEL, and the answer canceled.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			t.next(wire.TypeAccept, accept)
			s.Await(3) // preamble, HELLO and the answer
			withdrawn(t, wire.TypeBind, bind)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			withdrawn(t, wire.TypeAccept, accept)
			t.next(wire.TypeBind, bind)
			s.Await(4) // WELCOME, ACCEPT, CANCEL and the answer
			t.end()
		},
	},
	"observe": {
		"A launcher asks what the core runs: LOOK.",
		func(s *transcript.Stage) {
			t := attach(s, launcher, launcherWelcomed)
			var l wire.Looked
			s.Must(t.Call(s.Context(), wire.TypeLook, nil, &l))
			s.Equal(l, looked)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, launcher, launcherWelcomed)
			t.reply(t.next(wire.TypeLook, struct{}{}), looked)
			t.end()
		},
	},
	"work": {
		"A worker offers a type of work; a unit is started, tells how it fares, is stopped, exits and is released. Another one's stderr goes to its stdout.",
		func(s *transcript.Stage) {
			t := attach(s, worker, workerWelcomed)
			t.ask(wire.TypeWorkType, workType, none)
			m := t.next(wire.TypeStart, start)
			s.Equal(len(m.Files), 3)
			t.reply(m, runs)
			t.ask(wire.TypeUnit, wire.Units{Units: []wire.Unit{grows}}, none)
			t.reply(t.next(wire.TypeStop, wire.Stop{Unit: start.Unit, GraceMS: 10000}), nil)
			m = t.next(wire.TypeStart, merged())
			s.Equal(len(m.Files), 2)
			t.reply(m, wire.Unit{Unit: "merged00", State: wire.UnitStarting})
			t.ask(wire.TypeUnit, wire.Units{Units: []wire.Unit{exits, killed}}, none)
			t.reply(t.next(wire.TypeRelease, wire.Release{Unit: start.Unit}), nil)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, worker, workerWelcomed)
			t.reply(t.next(wire.TypeWorkType, workType), nil)
			t.start(start, runs, sock(s), sock(s), sock(s))
			t.reply(t.next(wire.TypeUnit, wire.Units{Units: []wire.Unit{grows}}), nil)
			t.ask(wire.TypeStop, wire.Stop{Unit: start.Unit, GraceMS: 10000}, none)
			t.start(merged(), wire.Unit{Unit: "merged00", State: wire.UnitStarting}, sock(s), sock(s))
			t.reply(t.next(wire.TypeUnit, wire.Units{Units: []wire.Unit{exits, killed}}), nil)
			t.ask(wire.TypeRelease, wire.Release{Unit: start.Unit}, none)
			t.end()
		},
	},
	"work-recover": {
		"A worker that comes back is asked what has become of its units, and does not know all of them.",
		func(s *transcript.Stage) {
			t := attach(s, worker, workerWelcomed)
			t.ask(wire.TypeWorkType, workType, none)
			t.reply(t.next(wire.TypeRecover, known), recovered)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, worker, workerWelcomed)
			t.reply(t.next(wire.TypeWorkType, workType), nil)
			var told wire.Recovered
			s.Must(t.Call(s.Context(), wire.TypeRecover, known, &told))
			s.Equal(told, recovered)
			t.end()
		},
	},
	"work-refused": {
		"A type of work is refused; a unit is refused, its files are closed; what is told of a unit of another is refused.",
		func(s *transcript.Stage) {
			t := attach(s, worker, workerWelcomed)
			t.ask(wire.TypeWorkType, workType, wire.NewError(wire.CodeExists, "work type shell is offered by another"))
			t.refuse(t.next(wire.TypeStart, start), wire.NewError(wire.CodeDraining, "work type shell is not offered any more"))
			t.ask(wire.TypeUnit, wire.Units{Units: []wire.Unit{exits}}, wire.NewError(wire.CodeInvalid, "1 of 1 units: not of this worker"))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, worker, workerWelcomed)
			t.refuse(t.next(wire.TypeWorkType, workType), wire.NewError(wire.CodeExists, "work type shell is offered by another"))
			t.ask(wire.TypeStart, start, wire.NewError(wire.CodeDraining, "work type shell is not offered any more"), sock(s), sock(s), sock(s))
			t.refuse(t.next(wire.TypeUnit, wire.Units{Units: []wire.Unit{exits}}), wire.NewError(wire.CodeInvalid, "1 of 1 units: not of this worker"))
			t.end()
		},
	},
	"unknown": {
		"Messages that the other side does not know: a request, and a notification, which is ignored.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			s.Must(t.Notify(unknownType, map[string]any{"future": true}))
			t.ask(unknownType, map[string]any{"future": true}, wire.NewError(wire.CodeUnsupported, "unknown message"))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			s.Await(2) // WELCOME and the answer
			t.end()
		},
	},
	"protocol-error": {
		"A plug breaks the protocol, by an id that is a core's, and is told so.",
		func(s *transcript.Stage) {
			conn := s.Dial()
			_, err := session.Attach(s.Context(), conn, hello)
			s.Must(err)
			say(s, conn, string(plugtest.Frame(wire.TypePing, 0, 2, "{}")))
			f, err := plugtest.ReadFrame(conn)
			s.Must(err)
			s.Equal(f.Type, wire.TypeError)
			ends(s, conn)
		},
		func(s *transcript.Stage) { welcome(s, hello, welcomed).gone() },
	},
	"stream-reset": {
		"A stream whose one direction has ended is reset by the core: no clean end.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			c := stream(open(s, wire.TypeDial, dial))
			say(s, c, "a question")
			s.Must(c.CloseWrite())
			hear(s, c, "half an ")
			_, err := c.Read(make([]byte, 1))
			var reset *recordconn.ResetError
			s.Equal(errors.As(err, &reset) && reset.Code == wire.CodeGone && !errors.Is(err, io.EOF), true)
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			c := stream(opened(s, wire.TypeDial, dial))
			hear(s, c, "a question")
			ends(s, c)
			say(s, c, "half an ")
			s.Must(c.Reset(wire.Reset{Code: wire.CodeGone, Msg: "node beta is gone"}))
			s.Await(5) // WELCOME, the answer, DATA, RESET and the end
			t.end()
		},
	},
	"stream-reset-by-plug": {
		"A stream is reset by the plug, as the application has reset its connection.",
		func(s *transcript.Stage) {
			t := attach(s, hello, welcomed)
			c := stream(open(s, wire.TypeDial, dial))
			say(s, c, "half a ")
			s.Must(c.Reset(wire.Reset{Code: wire.CodeGone, Msg: "connection reset by peer"}))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, hello, welcomed)
			raw := opened(s, wire.TypeDial, dial)
			c := stream(raw)
			hear(s, c, "half a ")
			_, err := c.Read(make([]byte, 1))
			var reset *recordconn.ResetError
			s.Equal(errors.As(err, &reset) && reset.Msg == "connection reset by peer", true)
			ends(s, raw)
			t.end()
		},
	},
}

func withRefusals(w wire.Welcome) wire.Welcome {
	w.Roles = []wire.RoleGrant{{Role: wire.RoleLink, Version: 1}, {Role: wire.RoleStream, Refused: "not allowed by plugs-policy"}}
	w.Kinds = []wire.KindRefusal{{Kind: "ex-server", Refused: "its role stream is not granted"}}
	return w
}

// merged is a unit whose stderr goes to its stdout.
func merged() wire.Start {
	m := start
	m.Unit, m.Params, m.Merged = "merged00", nil, true
	return m
}

func withResidual(l wire.Link) wire.Link {
	l.Residual = []byte("\x05\x00early")
	return l
}

func withLive(c wire.Config) wire.Config {
	c.Items = append([]wire.ConfigItem{}, c.Items...)
	c.Items[0].Live = []wire.Live{{Object: "object-1", Remote: "10.0.0.1:2222"}}
	return c
}

// second is the HELLO of a process that takes over.
func second() wire.Hello {
	h := hello
	h.Process, h.Takeover = "fedcba9876543210", true
	return h
}

var takeoverDrain = wire.Drain{DeadlineMS: 10000, Reason: "a newer process takes over"}

func nameTaken() *wire.Error {
	e := wire.NewError(wire.CodeExists, "a plug named example is attached")
	e.Path, e.RetryAfterMS = "name", 2000
	return e
}

func otherMajor(msg string, majors ...int) *wire.Error {
	e := wire.NewError(wire.CodeVersion, "%s", msg)
	e.Majors = majors
	return e
}

// withdrawn sends a request and withdraws it once the other side has it.
func withdrawn(t *talk, typ wire.Type, body any) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	t.Sends(1, func() {
		go func() { done <- t.Call(ctx, typ, body, nil) }()
	})
	t.Sends(1, func() {
		cancel()
		t.Equal(errors.Is(<-done, context.Canceled), true)
	})
}
