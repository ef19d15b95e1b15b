package limiter

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// A letter is the memory in which one command is written down, again and again. What is sent
// are pointers into it, so that numbers and keys need no memory of their own.
type letter struct {
	of    []*inquiry // that it asks
	slips []slip     // one for each
	keys  []byte     // of all of them
	count int        // of them
	args  []any
	sent  *redis.IntSliceCmd
}

// A slip is what takeScript is told of one key.
type slip struct {
	key                  string
	gone, at, most, kept int64
}

// A desk is where one worker writes: one letter for all that is asked, or where keys are kept
// apart one for each.
type desk []letter

// write writes what asks batch.
func (d *desk) write(ctx context.Context, batch []*inquiry, apart, whole bool) []letter {
	n := 1
	if apart {
		n = len(batch)
	}
	for len(*d) < n {
		*d = append(*d, letter{})
	}
	letters := (*d)[:n]
	for i := range letters {
		of := batch
		if apart {
			of = batch[i : i+1]
		}
		letters[i].write(ctx, of, whole)
	}
	return letters
}

// errForeign is for who has a key in which somebody else keeps something.
var errForeign = errors.New("somebody else keeps something in redis under this key")

// write makes what is sent of some inquiries: by the script's name, or with all of it for a
// Redis that does not know the name. It is good until the letter's next one.
func (l *letter) write(ctx context.Context, of []*inquiry, whole bool) {
	l.of, l.count, l.keys = of, len(of), l.keys[:0]
	for _, q := range of {
		l.keys = append(l.keys, q.key...)
	}
	for len(l.slips) < len(of) {
		l.slips = append(l.slips, slip{})
	}
	if whole {
		l.args = append(l.args[:0], "eval", takeScript, &l.count)
	} else {
		l.args = append(l.args[:0], "evalsha", &takeName, &l.count)
	}
	keys := string(l.keys) // one for all
	for i, q := range of {
		s := &l.slips[i]
		s.key, keys = keys[:len(q.key)], keys[len(q.key):]
		s.gone, s.at, s.most, s.kept = q.gone, q.at, q.most, q.kept
		l.args = append(l.args, &s.key)
	}
	for i, q := range of {
		l.args = l.slips[i].tell(l.args, q)
	}
	l.sent = redis.NewIntSliceCmd(ctx, l.args...)
	l.sent.SetFirstKeyPos(3)
}

// tell appends what takeScript has to know of q beside its key.
func (s *slip) tell(args []any, q *inquiry) []any {
	switch {
	case q.slides && q.peek:
		return append(args, "s", &s.gone, &s.at, &s.most, &s.kept, "0")
	case q.slides:
		return append(args, "s", &s.gone, &s.at, &s.most, &s.kept, "1")
	case q.peek:
		return append(args, "0")
	}
	return append(args, &s.kept)
}

// read hands on what was answered. It returns an error if nothing was: then nobody knows yet.
func (l *letter) read() error {
	answers, err := l.sent.Result()
	if err == nil && len(answers) != len(l.of) {
		err = errors.New("redis has answered something else than was asked")
	}
	if err != nil {
		return err
	}
	for i, q := range l.of {
		if q.answer = answers[i]; q.answer == foreignAnswer {
			q.end(errForeign)
		} else {
			q.end(nil)
		}
	}
	return nil
}
