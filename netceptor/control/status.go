package control

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strconv"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

type statusCommand struct {
	mesh    Mesh
	extra   func() map[string]any
	started time.Time
}

// plain answers with the eight keys of legacy nodes, or those asked for.
func (c statusCommand) plain(_ context.Context, _ Session, args *string, params map[string]json.RawMessage) (any, error) {
	if args != nil && *args != "" {
		return nil, errors.New("status command does not take parameters")
	}
	wanted, filtered, err := requestedFields(params)
	if err != nil {
		return nil, err
	}
	st := c.mesh.Status()
	all := map[string]any{
		"Advertisements":       notNil(st.Advertisements),
		"Connections":          notNil(st.Connections),
		"KnownConnectionCosts": notNilMap(st.KnownConnectionCosts),
		"NodeID":               st.NodeID,
		"RoutingTable":         notNilMap(st.RoutingTable),
		"SystemCPUCount":       runtime.NumCPU(),
		"SystemMemoryMiB":      memoryMiB(),
		"Version":              st.Version,
	}
	if filtered {
		return selectKeys(all, wanted), nil
	}
	return all, nil
}

// requestedFields reads the one parameter of the JSON form. Anything but a list
// of strings is refused (it used to crash nodes).
func requestedFields(params map[string]json.RawMessage) (fields []string, ok bool, err error) {
	raw, ok := params["requested_fields"]
	if !ok {
		return nil, false, nil
	}
	if raw[0] != '[' || json.Unmarshal(raw, &fields) != nil {
		return nil, false, errors.New("requested_fields must be a list of strings")
	}
	return fields, true, nil
}

// selectKeys returns the wanted part of all; what there is not is left out.
func selectKeys(all map[string]any, wanted []string) map[string]any {
	some := make(map[string]any)
	for _, key := range wanted {
		if v, ok := all[key]; ok {
			some[key] = v
		}
	}
	return some
}

// ownAdvertisement is an advertisement in the names of our own form.
type ownAdvertisement struct {
	Node      string            `json:"node"`
	Service   string            `json:"service"`
	Time      time.Time         `json:"time"`
	Type      string            `json:"type"`
	Tags      map[string]string `json:"tags,omitempty"`
	WorkTypes []ownWorkType     `json:"work_types,omitempty"`
}

type ownWorkType struct {
	Type   string `json:"type"`
	Secure bool   `json:"secure"`
}

type ownConnection struct {
	Node string  `json:"node"`
	Cost float64 `json:"cost"`
}

// own answers with all that is known, or the fields asked for.
func (c statusCommand) own(_ context.Context, _ Session, args json.RawMessage, _ func(any) error) (any, error) {
	var a struct {
		Fields []string `json:"fields"`
	}
	if err := decodeArgs(args, &a); err != nil {
		return nil, err
	}
	st := c.mesh.Status()
	all := make(map[string]any)
	if c.extra != nil {
		for k, v := range c.extra() {
			all[k] = v
		}
	}
	connections := make([]ownConnection, 0, len(st.Connections))
	for _, l := range st.Connections {
		connections = append(connections, ownConnection{Node: l.NodeID, Cost: l.Cost})
	}
	advertisements := make([]ownAdvertisement, 0, len(st.Advertisements))
	for _, ad := range st.Advertisements {
		advertisements = append(advertisements, ownAd(ad))
	}
	for k, v := range map[string]any{
		"node":           st.NodeID,
		"version":        st.Version,
		"epoch":          strconv.FormatUint(st.Epoch, 10), // more than a float64 holds
		"uptime_s":       int64(time.Since(c.started).Seconds()),
		"goroutines":     runtime.NumGoroutine(), // of the process
		"system":         map[string]any{"cpus": runtime.NumCPU(), "memory_mib": memoryMiB()},
		"connections":    connections,
		"routes":         notNilMap(st.RoutingTable),
		"known_costs":    notNilMap(st.KnownConnectionCosts),
		"advertisements": advertisements,
		"links":          notNil(st.Links),
		"counters":       notNilMap(st.Counters),
		"firewall":       notNil(st.Firewall),
		"alarms":         notNil(st.Alarms),
		"streams":        notNil(st.Streams),
	} {
		all[k] = v
	}
	if a.Fields != nil {
		return selectKeys(all, a.Fields), nil
	}
	return all, nil
}

func ownAd(ad netceptor.Advertisement) ownAdvertisement {
	own := ownAdvertisement{
		Node: ad.NodeID, Service: ad.Service, Time: ad.Time, Type: connType(ad.ConnType), Tags: ad.Tags,
	}
	for _, w := range ad.WorkCommands {
		own.WorkTypes = append(own.WorkTypes, ownWorkType{Type: w.WorkType, Secure: w.Secure})
	}
	return own
}

// connType names the ConnType of an advertisement.
func connType(n int) string {
	switch n {
	case 0:
		return "datagram"
	case 1:
		return "stream"
	case 2:
		return "stream-tls"
	}
	return strconv.Itoa(n)
}

// notNil and notNilMap make [] and {} of what would be null in JSON.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func notNilMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
