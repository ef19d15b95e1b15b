package config

// An ErrorOverride is the body that answers of one status get instead of their own:
// exactly one of Text, JSON and File.
type ErrorOverride struct {
	Field       string // where it is written: "error_response_overrides[1]"
	Status      int    // 400 to 599
	Text        *string
	JSON        *Template
	File        string // that holds the text
	ContentType string // "" for that of the kind
}
