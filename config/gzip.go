package config

// A Gzip says which answers are compressed, for clients that take them so.
type Gzip struct {
	MinLength            int      // of answers that say their length
	Level                int      // 1 to 9, -1 for the default, -2 for Huffman codes only
	Types                []string // of content, in lower case; nil for Envoy's own
	DisableOnETag        bool     // an answer with an ETag is left alone; else the ETag goes
	RemoveAcceptEncoding bool     // services do not learn that a client takes compressed answers
}
