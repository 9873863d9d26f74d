package legacy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// workRequest is a command work in either form.
type workRequest struct {
	sub            string
	unit           string
	node, workType string
	params         map[string]string
	start          int64
	signature      string
	sign           bool // by this node, for another one
}

var errBadCommand = errors.New("bad command")

func parseWork(r Request) (workRequest, error) {
	if r.Fields == nil {
		return parsePlainWork(r.Plain())
	}
	return parseJSONWork(r.Fields)
}

func parsePlainWork(words []string) (q workRequest, err error) {
	if len(words) == 0 {
		return q, errBadCommand
	}
	q.sub, words = strings.ToLower(words[0]), words[1:]
	switch q.sub {
	case "submit":
		if len(words) < 2 {
			return q, errors.New("work submit requires a target node and work type")
		}
		q.node, q.workType, q.params = words[0], words[1], map[string]string{}
		if len(words) > 2 {
			q.params["params"] = strings.Join(words[2:], " ")
		}
		return q, nil
	case "list":
		if len(words) > 0 {
			q.unit = words[0]
		}
		return q, nil
	case "status", "cancel", "release", "force-release", "results":
	default:
		return q, errBadCommand
	}
	most := 1
	if q.sub == "results" {
		most = 2
	}
	switch {
	case len(words) == 0:
		return q, fmt.Errorf("work %s requires a unit ID", q.sub)
	case len(words) > most && q.sub == "results":
		return q, errors.New("work results only takes a unit ID and optional start position")
	case len(words) > most:
		return q, fmt.Errorf("work %s does not take parameters after the unit ID", q.sub)
	}
	if q.unit = words[0]; len(words) == 2 {
		if q.start, err = strconv.ParseInt(words[1], 10, 64); err != nil {
			return q, fmt.Errorf("error converting start position to integer: %w", err)
		}
	}
	return q, nil
}

func parseJSONWork(fields map[string]any) (q workRequest, err error) {
	text := func(key string) (v string) {
		field, ok := fields[key]
		if v, _ = field.(string); err == nil && !ok {
			err = fmt.Errorf("field %s missing", key)
		} else if _, is := field.(string); err == nil && !is {
			err = fmt.Errorf("field %s must be a string", key)
		}
		return v
	}
	q.signature, _ = fields["signature"].(string)
	switch q.sub = strings.ToLower(text("subcommand")); q.sub {
	case "submit":
		q.node, q.workType, q.params = text("node"), text("worktype"), map[string]string{}
		q.sign = fields["signwork"] == "true"
		for key, v := range fields {
			s, ok := v.(string)
			if !ok && err == nil {
				err = fmt.Errorf("submit parameters must all be strings and %s is not", key)
			}
			switch key {
			case "command", "subcommand", "node", "worktype", "tlsclient", "signwork", "signature", "ttl":
			default:
				q.params[key] = s
			}
		}
	case "list":
		q.unit, _ = fields["unitid"].(string)
	case "results":
		q.unit = text("unitid")
		start, ok := fields["startpos"]
		position, isNumber := start.(float64)
		q.start = int64(position)
		switch {
		case err != nil:
		case !ok:
			err = errors.New("field startpos missing")
		case !isNumber:
			err = fmt.Errorf("field startpos value %v is not convertible to an int", start)
		}
	case "status", "cancel", "release", "force-release":
		q.unit = text("unitid")
	default:
		if err == nil {
			err = errBadCommand
		}
	}
	return q, err
}

// work is what a node says that has no Work of its own.
func work(_ context.Context, _ *ControlSession, r Request) (any, error) {
	q, err := parseWork(r)
	switch {
	case err != nil:
		return nil, err
	case q.sub == "submit":
		return nil, fmt.Errorf("unknown work type %s", q.workType)
	case q.sub == "list" && q.unit == "":
		return map[string]any{}, nil
	}
	return nil, fmt.Errorf("unknown work unit %s", q.unit)
}
