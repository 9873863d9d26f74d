package plughost

import "slices"

// programs are the programs that bring well-known kinds: what to install for an
// item that waits.
var programs = map[string][]string{
	"receptor-backend-tcp":     {"tcp-listener", "tcp-peer"},
	"receptor-backend-udp":     {"udp-listener", "udp-peer"},
	"receptor-backend-ws":      {"ws-listener", "ws-peer"},
	"receptor-command-service": {"command-service"},
	"receptor-proxy-tcp":       {"tcp-server", "tcp-client", "tcp-inbound-proxy", "tcp-outbound-proxy", "unix-socket-server", "unix-socket-client"},
	"receptor-proxy-tun":       {"ip-router", "tun-proxy", "ip-tunnel"},
	"receptor-proxy-udp":       {"udp-server", "udp-client", "udp-inbound-proxy", "udp-outbound-proxy"},
	"receptor-worker-command":  {"work-command"},
}

// ProgramFor is the name of the program that brings a well-known kind, in lower
// case; empty for others.
func ProgramFor(kind string) string {
	for program, kinds := range programs {
		if slices.Contains(kinds, kind) {
			return program
		}
	}
	return ""
}
