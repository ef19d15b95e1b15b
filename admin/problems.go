package admin

import "legate/config"

// A Problem is a config.Problem as the API shows it.
type Problem struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Col       int    `json:"col,omitempty"`
	Within    string `json:"within,omitempty"` // the annotation it was written in, in words
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Effect    string `json:"effect"`
	Broken    bool   `json:"broken"`            // an error rather than a warning
	Instead   string `json:"instead,omitempty"` // where the effect does not say it all
	Text      string `json:"text"`              // all of it on one line
}

// Problems renders ps; without any the list is empty, not null.
func Problems(ps []config.Problem) []Problem {
	list := make([]Problem, len(ps))
	for i, p := range ps {
		list[i] = Problem{
			Kind:      p.Ref.Kind,
			Namespace: p.Ref.Namespace,
			Name:      p.Ref.Name,
			File:      p.Ref.File,
			Line:      p.Ref.Line,
			Col:       p.Ref.Col,
			Within:    p.Ref.Within,
			Field:     p.Field,
			Message:   p.Msg,
			Effect:    p.Effect.String(),
			Broken:    p.Effect.Broken(),
			Instead:   p.Instead,
			Text:      p.String(),
		}
	}
	return list
}
