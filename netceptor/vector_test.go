package netceptor

import (
	"encoding/hex"
	"testing"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// What an existing node sent over its links, and what it answered or passed on:
// ours does the same, to the byte. The messages are those of a recording.

// unhex is a message of the recording.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordedPing(t *testing.T) {
	t.Parallel()
	beta := startNode(t, Config{NodeID: "beta"})
	alpha := attachRaw(t, beta, "alpha")
	alpha.send(unhex(t, "001d000065efb30772de151328501aba8f06ebda58377a586b666b6f70696e6700000000"))
	alpha.expectMessage(unhex(t, "001d000028501aba8f06ebda65efb30772de151370696e670000000058377a586b666b6f"))
	// The last probe of a traceroute arrives without hops.
	alpha.send(unhex(t, "0000000065efb30772de151328501aba8f06ebda467633635854675470696e6700000000"))
	alpha.expectMessage(unhex(t, "001d000028501aba8f06ebda65efb30772de151370696e67000000004676336358546754"))
}

func TestPingIsAsRecorded(t *testing.T) {
	t.Parallel()
	alpha := startNode(t, Config{NodeID: "alpha"})
	beta := attachRaw(t, alpha, "beta")
	result := make(chan PingResult, 1)
	go func() {
		r, err := alpha.Ping(t.Context(), "beta", wire.DefaultHops)
		if err != nil {
			t.Errorf("ping: %v", err)
		}
		result <- r
	}()
	request := beta.expect("data message", func(msg []byte) bool { return msg[0] == wire.TypeData })
	want := unhex(t, "001d000065efb30772de151328501aba8f06ebda58377a586b666b6f70696e6700000000")
	copy(want[20:28], request[20:28]) // the ephemeral service
	if string(request) != string(want) {
		t.Errorf("sent     %x\nrecorded %x", request, want)
	}
	answer := unhex(t, "001d000028501aba8f06ebda65efb30772de151370696e670000000058377a586b666b6f")
	copy(answer[28:36], request[20:28])
	beta.send(answer)
	if r := <-result; r.From != "beta" {
		t.Errorf("answered by %q", r.From)
	}
}

func TestRecordedTransit(t *testing.T) {
	t.Parallel()
	u1 := startNode(t, Config{NodeID: "u1"})
	u2, u3 := attachRaw(t, u1, "u2"), attachRaw(t, u1, "u3")

	probe := "dac390bb710a38e71c00af4fccca5583"
	u2.send(unhex(t, "001d0000"+probe+"4457786f71516f5470696e6700000000"))
	u3.expectMessage(unhex(t, "001c0000"+probe+"4457786f71516f5470696e6700000000"))
	u3.send(unhex(t, "001d00001c00af4fccca5583dac390bb710a38e770696e67000000004457786f71516f54"))
	u2.expectMessage(unhex(t, "001c00001c00af4fccca5583dac390bb710a38e770696e67000000004457786f71516f54"))

	u2.send(unhex(t, "00000000"+probe+"324b6a42626e493070696e6700000000"))
	u2.expectMessage(unhex(t, "001d0000009977a3d9f9338fdac390bb710a38e7756e726561636800756e7265616368007b2246726f6d4e6f6465223a227532222c22546f4e6f6465223a227533222c2246726f6d53657276696365223a22324b6a42626e4930222c22546f53657276696365223a2270696e67222c2250726f626c656d223a226d6573736167652065787069726564227d"))
}

func TestRecordedNotices(t *testing.T) {
	t.Parallel()
	delta := startNode(t, Config{NodeID: "delta"})
	right := attachRaw(t, delta, "right")
	attachRaw(t, delta, "far")
	from := Addr{"right", "rsvc"}

	right.send(data(0, from, Addr{"far", "fsvc"}, "x"))
	right.expectMessage(unhex(t, "001d0000affa732e49b22deabacd3530bb91dd0f756e726561636800756e7265616368007b2246726f6d4e6f6465223a227269676874222c22546f4e6f6465223a22666172222c2246726f6d53657276696365223a2272737663222c22546f53657276696365223a2266737663222c2250726f626c656d223a226d6573736167652065787069726564227d"))
	right.send(data(7, from, Addr{"delta", "nosuch"}, "x"))
	right.expectMessage(unhex(t, "001d0000affa732e49b22deabacd3530bb91dd0f756e726561636800756e7265616368007b2246726f6d4e6f6465223a227269676874222c22546f4e6f6465223a2264656c7461222c2246726f6d53657276696365223a2272737663222c22546f53657276696365223a226e6f73756368222c2250726f626c656d223a227365727669636520756e6b6e6f776e227d"))
}

// Nobody is told what became of a notice.
func TestNoNoticeAboutNotices(t *testing.T) {
	t.Parallel()
	delta := startNode(t, Config{NodeID: "delta"})
	right := attachRaw(t, delta, "right")
	attachRaw(t, delta, "far")
	right.send(data(0, Addr{"right", "unreach"}, Addr{"far", "unreach"}, "x"))
	for _, payload := range []string{"", "1", "x", `{"FromNode":"delta"}`} {
		right.send(data(9, Addr{"right", "unreach"}, Addr{"delta", "nosuch"}, payload))
	}
	right.send(data(9, Addr{"right", "x"}, Addr{"delta", "ping"}, ""))
	answer := right.expect("data message", func(msg []byte) bool { return msg[0] == wire.TypeData })
	if want := data(29, Addr{"delta", "ping"}, Addr{"right", "x"}, ""); string(answer) != string(want) {
		t.Errorf("got %q before the answer to the ping", answer)
	}
}

// Reserved bytes are zeroed on the way, service names may have any bytes, and the
// source may be a node behind the neighbour. (The recorded source was behind
// another neighbour; that we do not pass on, see TestSourcesOfANeighbour.)
func TestRecordedForwarding(t *testing.T) {
	t.Parallel()
	delta := startNode(t, Config{NodeID: "delta"})
	right, left := attachRaw(t, delta, "right"), attachRaw(t, delta, "left")
	right.update("far", map[string]float64{"right": 1})
	right.update("right", map[string]float64{"delta": 1, "far": 1})
	waitFor(t, delta, "the route to far", func(s Status) bool { return s.RoutingTable["far"] == "right" })
	right.send(unhex(t, "00070000a6025b959504a0205d8460edbd02305466737663000000006c7376630000000073706f6f66"))
	left.expectMessage(unhex(t, "00060000a6025b959504a0205d8460edbd02305466737663000000006c7376630000000073706f6f66"))
	right.send(unhex(t, "0009aabbbacd3530bb91dd0f5d8460edbd02305461006200000000006c73766300000000626f6479"))
	left.expectMessage(unhex(t, "00080000bacd3530bb91dd0f5d8460edbd02305461006200000000006c73766300000000626f6479"))
}
