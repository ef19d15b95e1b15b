package format

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A timeFormat is the format of a time, as of strftime and a few more, compiled. nil
// stands for ISO 8601 with milliseconds.
type timeFormat []timeStep

// A timeStep is ready text, or a verb.
type timeStep struct {
	text  string
	verb  byte // 0 for text
	width int  // of fractions of a second
}

// The verbs beside those of strftime.
const (
	fraction = 'f' // of the second, to width digits
	seconds  = 'E' // with a fraction of width digits
)

// longVerbs stand for several.
var longVerbs = map[byte]string{'F': "%Y-%m-%d", 'T': "%H:%M:%S", 'D': "%m/%d/%y", 'R': "%H:%M", 'r': "%I:%M:%S %p", 'c': "%a %b %e %H:%M:%S %Y"}

// parseTime reads the format of a time.
func parseTime(format string) (f timeFormat, err error) {
	for format != "" {
		text, rest, found := strings.Cut(format, "%")
		if text != "" {
			f = append(f, timeStep{text: text})
		}
		if !found {
			return f, nil
		}
		n, step, err := parseVerb(rest)
		if err != nil {
			return nil, err
		}
		if long, ok := longVerbs[step.verb]; ok && step.width == 0 {
			steps, err := parseTime(long)
			if err != nil {
				return nil, err
			}
			f = append(f, steps...)
		} else {
			f = append(f, step)
		}
		format = rest[n:]
	}
	return f, nil
}

// parseVerb reads the verb that text begins with, behind its %.
func parseVerb(text string) (n int, s timeStep, err error) {
	const verbs = "YmdHMSyjbBhaAeIplskZzuwFTDRrcfnt%"
	bad := fmt.Errorf("%q is no part of a time", "%"+clip(text))
	if text == "" {
		return 0, s, bad
	}
	if c := text[0]; strings.IndexByte(verbs, c) >= 0 {
		switch c {
		case '%':
			return 1, timeStep{text: "%"}, nil
		case 'n':
			return 1, timeStep{text: "\n"}, nil
		case 't':
			return 1, timeStep{text: "\t"}, nil
		case 'Z':
			return 1, timeStep{text: "UTC"}, nil
		case 'z':
			return 1, timeStep{text: "+0000"}, nil
		case 'f':
			return 1, timeStep{verb: fraction, width: 9}, nil
		case 'h':
			c = 'b'
		}
		return 1, timeStep{verb: c}, nil
	}
	extended := text[0] == 'E'
	if extended {
		text = text[1:]
		n = 1
	}
	width := 0
	if text != "" && '1' <= text[0] && text[0] <= '9' {
		width = int(text[0] - '0')
		text = text[1:]
		n++
	}
	switch {
	case width > 0 && strings.HasPrefix(text, "f"):
		return n + 1, timeStep{verb: fraction, width: width}, nil
	case width > 0 && extended && strings.HasPrefix(text, "S"):
		return n + 1, timeStep{verb: seconds, width: width}, nil
	case width == 4 && extended && strings.HasPrefix(text, "Y"):
		return n + 1, timeStep{verb: 'Y'}, nil
	case width == 0 && extended && strings.HasPrefix(text, "z"):
		return n + 1, timeStep{text: "+00:00"}, nil
	}
	return 0, s, bad
}

// append appends t, in UTC. Budget: 0 allocs once dst has grown.
func (f timeFormat) append(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if f == nil {
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	for i := range f {
		s := &f[i]
		switch s.verb {
		case 0:
			dst = append(dst, s.text...)
		case fraction:
			dst = appendFraction(dst, t.Nanosecond(), s.width)
		case seconds:
			dst = appendFraction(append(appendDigits(dst, t.Second(), 2), '.'), t.Nanosecond(), s.width)
		default:
			dst = appendVerb(dst, s.verb, t)
		}
	}
	return dst
}

// appendVerb appends what a verb of strftime stands for.
func appendVerb(dst []byte, verb byte, t time.Time) []byte {
	switch verb {
	case 'Y':
		return appendDigits(dst, t.Year(), 4)
	case 'y':
		return appendDigits(dst, t.Year()%100, 2)
	case 'm':
		return appendDigits(dst, int(t.Month()), 2)
	case 'd':
		return appendDigits(dst, t.Day(), 2)
	case 'e':
		return appendPadded(dst, t.Day())
	case 'j':
		return appendDigits(dst, t.YearDay(), 3)
	case 'H':
		return appendDigits(dst, t.Hour(), 2)
	case 'k':
		return appendPadded(dst, t.Hour())
	case 'I':
		return appendDigits(dst, (t.Hour()+11)%12+1, 2)
	case 'l':
		return appendPadded(dst, (t.Hour()+11)%12+1)
	case 'M':
		return appendDigits(dst, t.Minute(), 2)
	case 'S':
		return appendDigits(dst, t.Second(), 2)
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'u':
		return appendDigits(dst, (int(t.Weekday())+6)%7+1, 1)
	case 'w':
		return appendDigits(dst, int(t.Weekday()), 1)
	}
	return t.AppendFormat(dst, layouts[verb])
}

// layouts are verbs that package time knows, too.
var layouts = map[byte]string{'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'p': "PM"}

// appendDigits appends n with at least width digits.
func appendDigits(dst []byte, n, width int) []byte {
	start := len(dst)
	for ; n > 0 || width > 0; width-- {
		dst = append(dst, byte('0'+n%10))
		n /= 10
	}
	slices.Reverse(dst[start:])
	return dst
}

// appendPadded appends n, which is below 100, with a space before a single digit.
func appendPadded(dst []byte, n int) []byte {
	if n < 10 {
		dst = append(dst, ' ')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// appendFraction appends the first digits of a second's nanoseconds.
func appendFraction(dst []byte, ns, width int) []byte {
	return appendDigits(dst, ns, 9)[:len(dst)+width]
}
