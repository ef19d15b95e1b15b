package config

// A CORS is what browsers are told about pages of other origins (Fetch §3.2).
type CORS struct {
	Origins        []string // scheme://host[:port] as browsers send it, or "*"
	Methods        []string // "*" for whatever is asked for; nil for silence
	Headers        []string // the same
	ExposedHeaders []string
	Credentials    bool
	MaxAge         string // in seconds
}
