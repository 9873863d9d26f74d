package legacy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// target is the one parameter of ping and traceroute.
func target(command string, r Request) (string, error) {
	if r.Fields == nil {
		if r.Text == "" {
			return "", fmt.Errorf("no %s target", command)
		}
		return r.Text, nil
	}
	v, ok := r.Fields["target"]
	if !ok {
		return "", fmt.Errorf("no %s target", command)
	}
	node, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s target must be string", command)
	}
	return node, nil
}

func ping(ctx context.Context, s *ControlSession, r Request) (any, error) {
	node, err := target("ping", r)
	if err != nil {
		return nil, err
	}
	p := s.Node.Ping(ctx, node, maxHops)
	if p.Err != nil {
		return map[string]any{"Success": false, "Error": p.Err.Error()}, nil
	}
	return map[string]any{"Success": true, "From": p.From, "Time": p.Time, "TimeStr": p.Time.String()}, nil
}

func traceroute(ctx context.Context, s *ControlSession, r Request) (any, error) {
	node, err := target("traceroute", r)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{}
	for i, p := range s.Node.Traceroute(ctx, node) {
		hop := map[string]any{"From": p.From, "Time": p.Time, "TimeStr": p.Time.String()}
		if p.Err != nil {
			hop["Error"] = p.Err.Error()
		}
		answer[strconv.Itoa(i)] = hop
	}
	return answer, nil
}

// knownAdvert is an advertisement as the status has it.
type knownAdvert struct {
	NodeID       string
	Service      string
	Time         time.Time
	ConnType     int
	Tags         map[string]string
	WorkCommands []WorkCommand
}

type knownConnection struct {
	NodeID string
	Cost   float64
}

func status(_ context.Context, s *ControlSession, r Request) (any, error) {
	if r.Text != "" {
		return nil, errors.New("status command does not take parameters")
	}
	fields := s.Node.status()
	wanted, ok := r.Fields["requested_fields"].([]any)
	if !ok {
		return fields, nil
	}
	answer := map[string]any{}
	for _, w := range wanted {
		name, ok := w.(string)
		if !ok {
			return nil, errors.New("each element of requested_fields must be a string")
		}
		if v, ok := fields[name]; ok {
			answer[name] = v
		}
	}
	return answer, nil
}

func (n *Node) status() map[string]any {
	ads := []knownAdvert{}
	for _, a := range n.Adverts() {
		known := knownAdvert{a.NodeID, a.Service, a.Time, a.ConnType, a.Tags, a.WorkCommands}
		if a.NodeID == n.config.ID {
			known.WorkCommands = n.config.WorkCommands
		}
		ads = append(ads, known)
	}
	connections := []knownConnection{}
	for peer, cost := range n.Neighbours() {
		connections = append(connections, knownConnection{peer, cost})
	}
	slices.SortFunc(connections, func(a, b knownConnection) int { return strings.Compare(a.NodeID, b.NodeID) })
	return map[string]any{
		"Version": "", "SystemCPUCount": runtime.NumCPU(), "SystemMemoryMiB": memoryMiB(),
		"NodeID": n.config.ID, "Connections": connections, "RoutingTable": n.Routes(),
		"Advertisements": ads, "KnownConnectionCosts": n.Costs(),
	}
}

// memoryMiB is the machine's memory; 0 where /proc does not tell it.
func memoryMiB() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	var kB int
	for in := bufio.NewScanner(f); in.Scan(); {
		if _, err := fmt.Sscanf(in.Text(), "MemTotal: %d kB", &kB); err == nil {
			break
		}
	}
	return kB >> 10
}

// connect turns the conversation into a pipe to a stream.
func connect(ctx context.Context, s *ControlSession, r Request) (any, error) {
	node, serviceName, tlsName, err := connectTarget(r)
	if err != nil {
		return nil, err
	}
	if tlsName != "" {
		return nil, fmt.Errorf("unknown TLS config %s", tlsName)
	}
	far, err := s.Node.Dial(ctx, node, serviceName, nil)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(s, "Connecting\n"); err != nil {
		return nil, errors.Join(ErrEndSession, far.Close())
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(far, s.Reader)
		_ = far.CloseWrite()
	}()
	_, _ = io.Copy(s, far)
	s.finish()
	if s.Local {
		s.conn.Close() // which ends the copying there
	}
	<-sent
	return nil, ErrEndSession
}

func connectTarget(r Request) (node, serviceName, tlsName string, err error) {
	if r.Fields == nil {
		p := append(r.Plain(), "", "", "")
		node, serviceName, tlsName = p[0], p[1], p[2]
	} else {
		text := func(key string) string { v, _ := r.Fields[key].(string); return v }
		node, serviceName, tlsName = text("node"), text("service"), text("tls")
	}
	if node == "" || serviceName == "" {
		return "", "", "", errors.New("connect requires a node and a service")
	}
	return node, serviceName, tlsName, nil
}

// reload has no file to read again.
func reload(context.Context, *ControlSession, Request) (any, error) {
	return map[string]any{
		"Success": false, "Error": "no configuration file was provided, reload function not set ERRORCODE 4",
	}, nil
}
