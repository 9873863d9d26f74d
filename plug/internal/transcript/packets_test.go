//go:build unix

package transcript_test

import (
	"maps"

	"github.com/project-receptor/receptor/plug/internal/transcript"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// What both sides of a packet service say.
var (
	packetHello = wire.Hello{
		Name: "datagrams", Program: "receptor-datagrams", ProgramVersion: "v1.2.3", Process: "0123456789abcdef",
		Roles: []wire.RoleVersions{{Role: wire.RolePacket, Versions: []int{1}}},
		Kinds: []wire.Kind{{
			Kind: "ex-packets", Role: wire.RolePacket, Dir: "in", Help: "carry datagrams",
			Params: []wire.Param{{Name: "service", Type: "service", Key: true, Required: true, Help: "service on this node"}},
		}},
	}
	packetWelcomed = wire.Welcome{
		Node: "alpha", CoreVersion: "v4.5.6", Session: "00112233445566778899aabbccddeeff",
		Roles:  []wire.RoleGrant{{Role: wire.RolePacket, Version: 1}},
		Limits: wire.Limits{Opens: 4096, DataConn: 4096}, HeartbeatMS: 5000,
	}
	pbind = wire.PBind{
		Session: packetWelcomed.Session, Item: "ex-packets service=dns", Service: "dns",
		Advertise: true, Tags: map[string]string{"type": "dns"},
	}
	pbound = wire.PBound{Object: "object-1", Node: "alpha", Service: "dns", MTU: 65471}
)

const (
	flowWanted = `{"local":"*","node":"beta","service":"dns"}`
	flowMade   = `{"local":"abcd1234","node":"beta","service":"dns","mtu":65471,"caps":["modern"]}`
	flowBegun  = `{"local":"dns","node":"gamma","service":"efgh5678","mtu":65471}`
	flowLost   = `{"code":"unreachable","msg":"no route to node beta"}`
)

func init() { maps.Copy(conversations, packetConversations) }

var packetConversations = map[string]conversation{
	"packets": {
		"A packet service: PBIND, a flow of the plug's and one of the core's, datagrams both ways; either ends one.",
		func(s *transcript.Stage) {
			t := attach(s, packetHello, packetWelcomed)
			conn := s.Dial()
			var bound wire.PBound
			s.Must(session.OpenFor(s.Context(), conn, wire.TypePBind, pbind, &bound))
			s.Equal(bound, pbound)
			d := packets(s, conn)
			defer d.close()
			d.peer(3, flowWanted)
			d.data(3, "a question")
			d.hear(wire.RecordPeer, 3, flowMade)
			d.hear(wire.RecordData, 3, "an answer")
			d.hear(wire.RecordPeer, 2, flowBegun)
			d.hear(wire.RecordData, 2, "")
			d.data(2, "to one that was empty")
			d.gone(2, "")
			d.hear(wire.RecordGone, 3, flowLost)
			d.close()
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, packetHello, packetWelcomed)
			conn, o := opening(s, wire.TypePBind, pbind)
			s.Sends(1, func() { s.Must(o.Answer(pbound)) })
			d := packets(s, conn)
			defer d.close()
			d.hear(wire.RecordPeer, 3, flowWanted)
			d.hear(wire.RecordData, 3, "a question")
			d.peer(3, flowMade)
			d.data(3, "an answer")
			d.peer(2, flowBegun)
			d.data(2, "")
			d.hear(wire.RecordData, 2, "to one that was empty")
			d.hear(wire.RecordGone, 2, "")
			d.gone(3, flowLost)
			d.ends()
			t.end()
		},
	},
	"packets-refused": {
		"PBIND is refused, as somebody else has the service.",
		func(s *transcript.Stage) {
			t := attach(s, packetHello, packetWelcomed)
			err := session.OpenFor(s.Context(), s.Dial(), wire.TypePBind, pbind, new(wire.PBound))
			s.Equal(err, error(wire.NewError(wire.CodeExists, "service dns is bound already")))
			t.gone()
		},
		func(s *transcript.Stage) {
			t := welcome(s, packetHello, packetWelcomed)
			c, o := opening(s, wire.TypePBind, pbind)
			s.Must(o.Refuse(wire.NewError(wire.CodeExists, "service dns is bound already")))
			s.Must(c.Close())
			s.Await(3) // WELCOME, the refusal and the end
			t.end()
		},
	},
}
