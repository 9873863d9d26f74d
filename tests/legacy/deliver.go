package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The reserved services.
const (
	servicePing    = "ping"
	serviceUnreach = "unreach"
)

// Errors of sending.
var (
	ErrNoRoute        = errors.New("no route to node")
	ErrUnknownService = errors.New(problemUnknown)
	errTooLarge       = errors.New("message too large")
	errUnknownHash    = errors.New("an address is nobody's that is known")
)

// maxPayload is what fits into a frame over TCP, the smallest that holds most.
const maxPayload = 65535 - messageHeader

// sendMessage sends a message of our own.
func (n *Node) sendMessage(hops uint8, from string, to service, payload []byte) error {
	if len(from) > maxService || len(to.name) > maxService {
		return ErrServiceTooLong
	}
	if len(payload) > maxPayload {
		return errTooLarge
	}
	if isLocalhost(to.node) {
		to.node = n.config.ID
	}
	if to.node == n.config.ID {
		payload = bytes.Clone(payload) // it waits in a queue, and who sends uses the bytes again
	}
	n.mu.Lock()
	m := message{
		hops: hops, from: Hash(n.config.ID), to: n.names.learn(to.node),
		fromService: from, toService: to.name, payload: payload,
	}
	n.mu.Unlock()
	return n.pass(m)
}

// pass filters, delivers or forwards a message, our own or one that came. It may
// wait for room on a link.
func (n *Node) pass(m message) error {
	n.mu.Lock()
	from, knowsFrom := n.names[m.from]
	to, knowsTo := n.names[m.to]
	n.mu.Unlock()
	if !knowsFrom || !knowsTo {
		return errUnknownHash
	}
	notify := func(problem string) error {
		return n.notify(from, Notice{FromNode: from, ToNode: to, FromService: m.fromService, ToService: m.toService, Problem: problem})
	}
	switch n.firewall.decide(from, to, m.fromService, m.toService) {
	case accept:
	case drop:
		return nil
	case reject:
		if m.fromService == serviceUnreach {
			return nil
		}
		return notify(problemBlocked)
	}
	if to == n.config.ID {
		switch err := n.deliver(from, m); {
		case !errors.Is(err, ErrUnknownService) || from == n.config.ID:
			return err
		}
		return notify(problemUnknown)
	}
	if m.hops == 0 {
		if m.fromService == serviceUnreach {
			return nil
		}
		return notify(problemExpired)
	}
	n.mu.Lock()
	l := n.peers[n.routing.table[to]]
	n.mu.Unlock()
	if l == nil {
		return ErrNoRoute
	}
	m.hops--
	if !l.out.putData(m.Append(nil)) {
		return ErrNoRoute
	}
	return nil
}

// notify tells a node what became of its message.
func (n *Node) notify(node string, notice Notice) error {
	payload, err := json.Marshal(notice)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	return n.sendMessage(maxHops, serviceUnreach, service{node, serviceUnreach}, payload)
}

// deliver hands a message to a service of ours.
func (n *Node) deliver(from string, m message) error {
	switch m.toService {
	case servicePing:
		if m.fromService == servicePing {
			return nil // an existing node would answer itself for ever
		}
		return n.sendMessage(maxHops, servicePing, service{from, m.fromService}, nil)
	case serviceUnreach:
		notice, err := parseNotice(from, m.payload)
		if err != nil {
			return err
		}
		if notice.FromNode == n.config.ID {
			n.mu.Lock()
			s := n.services[notice.FromService]
			n.mu.Unlock()
			if s != nil {
				s.notice(notice)
			}
		}
		return nil
	}
	n.mu.Lock()
	s := n.services[m.toService]
	n.mu.Unlock()
	if s == nil {
		return ErrUnknownService
	}
	s.put(datagram{Addr{from, m.fromService}, m.payload})
	return nil
}
