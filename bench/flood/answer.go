package flood

import (
	"bytes"
	"fmt"
	"strconv"
)

// An answer is what is looked at of one.
type answer struct {
	status int
	closes bool // the connection ends behind it
}

var (
	emptyLine     = []byte("\r\n\r\n")
	contentLength = []byte("content-length:")
	closing       = []byte("connection: close")
)

// parse reads an answer that begins with b, and reports whether b is all of it.
func parse(b []byte) (a answer, whole bool, err error) {
	end := bytes.Index(b, emptyLine)
	if end < 0 {
		return a, false, nil
	}
	head := b[:end+2]
	line, fields, _ := bytes.Cut(head, emptyLine[:2])
	if len(line) < len("HTTP/1.1 200") {
		return a, false, fmt.Errorf("answer %q", line)
	}
	a.status, err = strconv.Atoi(string(line[9:12]))
	if err != nil || a.status != 200 && a.status != 503 {
		return a, false, fmt.Errorf("answer %q", line)
	}
	length := -1
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, emptyLine[:2])
		switch {
		case len(field) > len(contentLength) && bytes.EqualFold(field[:len(contentLength)], contentLength):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(field[len(contentLength):]))); err != nil {
				return a, false, fmt.Errorf("answer field %q", field)
			}
		case bytes.EqualFold(field, closing):
			a.closes = true
		}
	}
	if length < 0 {
		return a, false, fmt.Errorf("answer has no Content-Length: %q", head)
	}
	return a, len(b) >= end+len(emptyLine)+length, nil
}
