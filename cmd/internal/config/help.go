package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// KindHelp writes one kind with its parameters, as help shows it.
func KindHelp(w *strings.Builder, k *wire.Kind) {
	fmt.Fprintf(w, "\n  --%s\n        %s\n", k.Kind, k.Help)
	for _, a := range k.Aliases {
		fmt.Fprintf(w, "        also --%s%s\n", a.Kind, aliasDefaults(a))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range k.Params {
		fmt.Fprintf(t, "      %s\t%s\t%s\n", p.Name, p.Type, strings.Join(append([]string{p.Help}, notes(p)...), "; ")) // memory does not fail
	}
	t.Flush() // memory does not fail
}

// notes are what there is to know about a parameter beside its help.
func notes(p wire.Param) []string {
	var n []string
	if p.Required {
		n = append(n, "required")
	}
	if p.Bare {
		n = append(n, "may be given without its name")
	}
	if p.Repeat || p.Type == schema.TypeList {
		n = append(n, "may be repeated")
	}
	if p.Default != nil {
		n = append(n, "default "+written(p.Default))
	}
	return n
}

func aliasDefaults(a wire.Alias) string {
	var d []string
	for _, name := range slices.Sorted(maps.Keys(a.Defaults)) {
		d = append(d, name+"="+written(a.Defaults[name]))
	}
	if d == nil {
		return ""
	}
	return ", with default " + strings.Join(d, ", ")
}

// written is a default as one would write it.
func written(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
