package plugtest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// NewItem makes an item of a configuration as it is; params is marshalled.
func NewItem(t TB, item, kind string, params any) wire.ConfigItem {
	t.Helper()
	b, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	return wire.ConfigItem{Item: item, Kind: kind, Params: b}
}

// ItemOf makes an item of what a user writes, as a core does: it looks at the parameters,
// fills in the defaults, and gives the item its name. kind may be an alias. The error is what
// the user is told, a line a mistake.
func ItemOf(kinds []wire.Kind, kind string, params map[string]any) (wire.ConfigItem, error) {
	k := schema.Find(kinds, kind)
	if k == nil {
		return wire.ConfigItem{}, fmt.Errorf("the plug has no kind %s", kind)
	}
	v, errs := schema.Check(k, kind, kind, params)
	if len(errs) > 0 {
		return wire.ConfigItem{}, errors.Join(errs...)
	}
	b, err := json.Marshal(v)
	return wire.ConfigItem{Item: schema.Identity(k, v), Kind: k.Kind, Params: b}, err
}

// Item is ItemOf the plug's kinds, without mistakes.
func (s *CoreSession) Item(kind string, params map[string]any) wire.ConfigItem {
	s.t.Helper()
	it, err := ItemOf(s.Hello.Kinds, kind, params)
	if err != nil {
		s.t.Fatalf("plugtest: an item of the plug: %v", err)
	}
	return it
}

// StartItem configures one item, and no other, and waits until it is up. It returns the
// address that the plug tells of it.
func (s *CoreSession) StartItem(it wire.ConfigItem) (addr string) {
	s.t.Helper()
	if r := s.Configure(it); len(r.Errors) > 0 {
		s.t.Fatalf("plugtest: CONFIG: %+v", r.Errors)
	}
	return s.WaitItem(it.Item, wire.StateUp).Addr
}
