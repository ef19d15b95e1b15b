package config

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// problemOf is a Problem at name, its message msg, its effect as many as there are exclamation marks.
func problemOf(name, msg string) Problem {
	text := strings.TrimRight(msg, "!")
	return Problem{Ref: Ref{Kind: "Mapping", Namespace: "x", Name: name}, Msg: text, Effect: Effect(len(msg) - len(text))}
}

// Problems stand in order of what they are about; those that are alike stay as they came.
func TestSortProblems(t *testing.T) {
	var problems []Problem
	for i := range 500 {
		problems = append(problems, problemOf(string(rune('a'+i%7)), string(rune('z'-i%5))+strings.Repeat("!", i%4)))
		problems[i].Ref.Line, problems[i].Field = i%3, string(rune('f'+i%2))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(problems), func(i, j int) { problems[i], problems[j] = problems[j], problems[i] })
	want := slices.Clone(problems)
	slices.SortStableFunc(want, func(a, b Problem) int { return CompareProblems(&a, &b) })
	SortProblems(problems)
	if !slices.Equal(problems, want) {
		t.Error("they are not as a stable sort leaves them")
	}
	if first, last := &problems[0], &problems[len(problems)-1]; first.Ref.Line != 0 || last.Ref.Line != 2 || last.Ref.Name != "g" || last.Msg != "z" {
		t.Errorf("from %v to %v", first, last)
	}
}

func TestNewProblems(t *testing.T) {
	list := func(text string) (problems []Problem) {
		for word := range strings.FieldsSeq(text) {
			name, msg, _ := strings.Cut(word, ":")
			problems = append(problems, problemOf(name, msg))
		}
		return problems
	}
	for _, row := range []struct{ old, now, come string }{
		{"", "", ""},
		{"", "a:x b:x", "a:x b:x"},
		{"a:x b:x", "a:x b:x", ""},
		{"a:x b:x c:x", "b:x", ""},
		{"b:x", "a:x b:x c:x", "a:x c:x"},
		{"a:x", "a:x a:y", "a:y"},
		{"", "a:x a:x b:x", "a:x b:x"},
		{"a:x", "a:x! a:x", "a:x!"},
		{"a:x a:x!", "a:x! a:x", ""},
		{"a:x", "a:x! a:x!! a:x!", "a:x! a:x!!"},
	} {
		var come []string
		for _, p := range NewProblems(list(row.old), list(row.now)) {
			come = append(come, p.Ref.Name+":"+p.Msg+strings.Repeat("!", int(p.Effect)))
		}
		if got := strings.Join(come, " "); got != row.come {
			t.Errorf("of %q, after %q, new is %q, want %q", row.now, row.old, got, row.come)
		}
	}
}
