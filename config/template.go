package config

// A Template is what an answer or a line of a log is made by: a text with Envoy's
// %COMMAND%s, or an object or a list that hold such texts.
type Template struct {
	Kind   TemplateKind
	Text   string // of all but objects and lists, as written
	Fields []TemplateField
	Items  []Template
}

// A TemplateKind says what JSON makes of a Template.
type TemplateKind uint8

// The kinds.
const (
	TemplateText TemplateKind = iota
	TemplateNumber
	TemplateBool
	TemplateNull
	TemplateObject
	TemplateList
)

// A TemplateField is one field of an object, in the order in which they are written.
type TemplateField struct {
	Name  string
	Value Template
}
