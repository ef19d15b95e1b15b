// Package legate carries what the binary brings along: the example configuration.
package legate

import _ "embed"

// Example is config.example.yaml, which legate dev serves where there is no other.
//
//go:embed config.example.yaml
var Example []byte
