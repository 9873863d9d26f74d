package ctl

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// legacyStatus is the answer to a plain status.
type legacyStatus struct {
	NodeID          *string
	Version         *string
	SystemCPUCount  *json.Number
	SystemMemoryMiB *json.Number

	Connections []struct {
		NodeID string
		Cost   json.Number
	}
	KnownConnectionCosts map[string]map[string]json.Number
	RoutingTable         map[string]string
	Advertisements       []struct {
		NodeID, Service, Time string
		ConnType              int
		Tags                  map[string]string
		WorkCommands          []struct {
			WorkType string
			Secure   bool
		}
	}
}

// writeLegacyStatus prints a plain status as the legacy client does, to the
// letter, but for what could harm a terminal.
func writeLegacyStatus(w io.Writer, raw []byte) error {
	var st legacyStatus
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	for key, missing := range map[string]bool{
		"NodeID": st.NodeID == nil, "Version": st.Version == nil,
		"SystemCPUCount": st.SystemCPUCount == nil, "SystemMemoryMiB": st.SystemMemoryMiB == nil,
	} {
		if missing {
			return fmt.Errorf("the node's answer lacks '%s'", key)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Node ID: %s\nVersion: %s\nSystem CPU Count: %s\nSystem Memory MiB: %s\n",
		printable(*st.NodeID), printable(*st.Version), *st.SystemCPUCount, *st.SystemMemoryMiB)

	width := st.nameWidth()
	row := func(first, format string, args ...any) {
		fmt.Fprintf(&b, "%s %s\n", pad(printable(first), width), printable(fmt.Sprintf(format, args...)))
	}
	if len(st.Connections) > 0 {
		fmt.Fprintln(&b)
		row("Connection", "Cost")
		for _, c := range st.Connections {
			row(c.NodeID, "%s", c.Cost)
		}
	}
	if len(st.KnownConnectionCosts) > 0 {
		fmt.Fprintln(&b)
		row("Known Node", "Known Connections")
		for _, node := range slices.Sorted(maps.Keys(st.KnownConnectionCosts)) {
			var peers strings.Builder
			costs := st.KnownConnectionCosts[node]
			for _, peer := range slices.Sorted(maps.Keys(costs)) {
				fmt.Fprintf(&peers, "%s: %s ", peer, costs[peer])
			}
			row(node, "%s", peers.String())
		}
	}
	if len(st.RoutingTable) > 0 {
		fmt.Fprintln(&b)
		row("Route", "Via")
		for _, node := range slices.Sorted(maps.Keys(st.RoutingTable)) {
			row(node, "%s", st.RoutingTable[node])
		}
	}
	if len(st.Advertisements) > 0 {
		fmt.Fprintln(&b)
		row("Node", "Service   Type       Last Seen             Tags")
		for _, ad := range st.Advertisements {
			row(ad.NodeID, "%s %s %s %s", pad(ad.Service, 9), pad(connType(ad.ConnType), 10), pad(lastSeen(ad.Time), 21), pad(tagText(ad.Tags), 16))
		}
	}
	for _, secure := range []bool{false, true} {
		types := st.workTypes(secure)
		if len(types) == 0 {
			continue
		}
		fmt.Fprintln(&b)
		row("Node", "%s", map[bool]string{false: "Work Types", true: "Secure Work Types"}[secure])
		for _, t := range types {
			row(t.node, "%s", strings.Join(t.types, ", "))
		}
	}
	if err := writeRest(&b, raw); err != nil {
		return err
	}
	_, err := b.WriteTo(w)
	return err
}

// nameWidth is that of the first column: 12, or the longest name of a neighbour or
// known node.
func (st *legacyStatus) nameWidth() int {
	width := 12
	for _, c := range st.Connections {
		width = max(width, utf8.RuneCountInString(printable(c.NodeID)))
	}
	for node := range st.KnownConnectionCosts {
		width = max(width, utf8.RuneCountInString(printable(node)))
	}
	return width
}

type nodeTypes struct {
	node  string
	types []string
}

// workTypes are the types of work of each node: those of its first advertisement
// that has any.
func (st *legacyStatus) workTypes(secure bool) (all []nodeTypes) {
	seen := make(map[string]bool)
	for _, ad := range st.Advertisements {
		var types []string
		for _, c := range ad.WorkCommands {
			if c.Secure == secure {
				types = append(types, c.WorkType)
			}
		}
		if len(types) > 0 && !seen[ad.NodeID] {
			seen[ad.NodeID] = true
			all = append(all, nodeTypes{ad.NodeID, types})
		}
	}
	return all
}

// writeRest prints what an answer holds beyond the keys that are known.
func writeRest(w *bytes.Buffer, raw []byte) error {
	rest, err := decodeAny(raw)
	if err != nil {
		return err
	}
	for _, key := range []string{
		"NodeID", "Version", "SystemCPUCount", "SystemMemoryMiB", "Connections",
		"KnownConnectionCosts", "RoutingTable", "Advertisements",
	} {
		delete(rest, key)
	}
	if len(rest) == 0 {
		return nil
	}
	fmt.Fprintln(w, "Additional data returned from Receptor:")
	return writeJSON(w, rest)
}

func connType(n int) string {
	switch n {
	case 0:
		return "Datagram"
	case 1:
		return "Stream"
	case 2:
		return "StreamTLS"
	}
	return strconv.Itoa(n)
}

// lastSeen is a time as it was written, without fraction and zone.
func lastSeen(s string) string {
	const length = len("2006-01-02T15:04:05")
	if len(s) < length {
		return s
	}
	return strings.Replace(s[:length], "T", " ", 1)
}

// tagText prints tags as a Python dictionary, as the legacy client did.
func tagText(tags map[string]string) string {
	if tags == nil {
		return "-"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, quote(k)+": "+quote(tags[k]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// quote prints a string as Python does: in single quotes, unless it holds those
// and no double ones.
func quote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
}

// ownStatus is what our own form adds.
type ownStatus struct {
	Links []struct {
		Peer          string      `json:"peer"`
		State         string      `json:"state"`
		Legacy        bool        `json:"legacy"`
		Cost          json.Number `json:"cost"`
		Item          string      `json:"item"`
		Dir           string      `json:"dir"`
		Remote        string      `json:"remote"`
		Since         time.Time   `json:"since"`
		BytesIn       uint64      `json:"bytes_in"`
		BytesOut      uint64      `json:"bytes_out"`
		FramesDropped uint64      `json:"frames_dropped"`
		Auth          string      `json:"authentication"`
	} `json:"links"`
	Firewall []struct {
		Number   int    `json:"number"`
		Rule     string `json:"rule"`
		Messages uint64 `json:"messages"`
	} `json:"firewall"`
	Alarms []struct {
		Msg    string    `json:"msg"`
		Count  uint64    `json:"count"`
		Last   time.Time `json:"last"`
		Peer   string    `json:"peer"`
		Detail string    `json:"detail"`
	} `json:"alarms"`
	Items []struct {
		Item  string `json:"item"`
		State string `json:"state"`
		Addr  string `json:"addr"`
		Err   string `json:"err"`
		Plug  string `json:"plug"`

		Warning string `json:"warning"`
	} `json:"items"`
	TLS []struct {
		Kind     string   `json:"kind"`
		Name     string   `json:"name"`
		Nodes    []string `json:"nodes"`
		DaysLeft *int     `json:"days_left"`
		Err      string   `json:"err"`
		Warning  string   `json:"warning"`
	} `json:"tls"`
	Plugs []struct {
		Name    string   `json:"name"`
		State   string   `json:"state"`
		Version string   `json:"version"`
		PID     int      `json:"pid"`
		Kinds   []string `json:"kinds"`
		Objects int      `json:"objects"`
		Err     string   `json:"err"`
	} `json:"plugs"`
}

// writeOwnStatus prints links, firewall rules, items, TLS profiles, plugs and alarms; a section without rows is left out.
func writeOwnStatus(w io.Writer, raw []byte) error {
	var st ownStatus
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	links := table{{"Link", "State", "Since", "Cost", "Dir", "Remote", "Proof", "Received", "Sent", "Dropped", "Item"}}
	for _, l := range st.Links {
		state := l.State
		if l.Legacy {
			state += ", legacy"
		}
		links = append(links, []string{
			orDash(l.Peer), state, l.Since.Local().Format(time.DateTime), l.Cost.String(), orDash(l.Dir), orDash(l.Remote), orDash(l.Auth),
			byteCount(l.BytesIn), byteCount(l.BytesOut), strconv.FormatUint(l.FramesDropped, 10), orDash(l.Item),
		})
	}
	rules := table{{"Rule", "Messages", "Firewall"}}
	for _, r := range st.Firewall {
		number := ""
		if r.Number > 0 {
			number = strconv.Itoa(r.Number)
		}
		rules = append(rules, []string{orDash(number), strconv.FormatUint(r.Messages, 10), r.Rule})
	}
	items := table{{"Item", "State", "Address", "Plug", "Reason"}}
	for _, i := range st.Items {
		items = append(items, []string{i.Item, i.State, orDash(i.Addr), orDash(i.Plug), cmp.Or(i.Err, i.Warning)})
	}
	profiles := table{{"TLS", "Days left", "Nodes", "Reason"}}
	for _, p := range st.TLS {
		days := ""
		if p.DaysLeft != nil {
			days = strconv.Itoa(*p.DaysLeft)
		}
		profiles = append(profiles, []string{p.Kind + " " + p.Name, orDash(days), orDash(strings.Join(p.Nodes, ", ")), cmp.Or(p.Err, p.Warning)})
	}
	plugs := table{{"Plug", "State", "PID", "Version", "Carries", "Kinds", "Reason"}}
	for _, p := range st.Plugs {
		plugs = append(plugs, []string{
			p.Name, p.State, strconv.Itoa(p.PID), orDash(p.Version), strconv.Itoa(p.Objects), orDash(strings.Join(p.Kinds, ", ")), p.Err,
		})
	}
	alarms := table{{"Alarm", "Times", "Last", "Neighbour", "Reason"}}
	for _, a := range st.Alarms {
		alarms = append(alarms, []string{
			a.Msg, strconv.FormatUint(a.Count, 10), a.Last.Local().Format(time.DateTime), orDash(a.Peer), a.Detail,
		})
	}
	var b bytes.Buffer
	for _, t := range []table{links, rules, items, profiles, plugs, alarms} {
		if len(t) > 1 {
			fmt.Fprintln(&b)
			t.write(&b)
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// byteCount prints a number of bytes for people.
func byteCount(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		f /= 1024
		if f < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
