package program

import "errors"

var (
	errOpenQuote  = errors.New("a quote is not closed")
	errLoneEscape = errors.New("nothing follows the last backslash")
)

// Split cuts text into arguments as legacy nodes do, and as a shell would that expands
// nothing: at spaces, tabs and ends of lines outside quotes. Between single quotes
// everything stands for itself. Between double quotes, and outside of quotes, what
// follows a backslash stands for itself, whatever it is. A # that begins an argument
// begins a comment, which ends with the line.
func Split(text string) ([]string, error) {
	var (
		args  []string
		arg   []rune // the one that is being read
		inArg bool   // there is one: it may be empty, as '' is
		quote rune   // the one that is open; 0: none
		runes = []rune(text)
	)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case r == '\\' && quote != '\'':
			if i++; i == len(runes) {
				return nil, errLoneEscape
			}
			arg, inArg = append(arg, runes[i]), true
		case r == quote:
			quote = 0
		case quote != 0:
			arg = append(arg, r)
		case r == '\'' || r == '"':
			quote, inArg = r, true
		case r == ' ' || r == '\t' || r == '\r' || r == '\n':
			if inArg {
				args, arg, inArg = append(args, string(arg)), nil, false
			}
		case r == '#' && !inArg:
			for i+1 < len(runes) && runes[i+1] != '\n' {
				i++
			}
		default:
			arg, inArg = append(arg, r), true
		}
	}
	switch {
	case quote != 0:
		return nil, errOpenQuote
	case inArg:
		args = append(args, string(arg))
	}
	return args, nil
}
