package decode

import (
	"math"
	"strconv"
	"strings"

	"legate/config"
)

// minGzip is the length from which on answers are compressed where nothing is said.
const minGzip = 30

// gzip reads which answers are compressed, nil for none. That the object is there is
// enough.
func (f *fields) gzip() *config.Gzip {
	sub := f.object("gzip")
	if sub == nil {
		return nil
	}
	z := &config.Gzip{
		MinLength:            minGzip,
		Level:                sub.gzipLevel(),
		DisableOnETag:        sub.isSet("disable_on_etag_header"),
		RemoveAcceptEncoding: sub.isSet("remove_accept_encoding_header"),
	}
	if n := sub.number("min_content_length", 0, math.MaxInt32); n != nil {
		z.MinLength = *n
	}
	for _, t := range sub.commaList("content_type") {
		z.Types = append(z.Types, strings.ToLower(t))
	}
	for _, name := range []string{"memory_level", "window_bits"} { // zlib's memory, which is not what compresses here
		sub.number(name, 1, 15)
	}
	enabled := sub.flag("enabled")
	sub.finish(nil)
	if enabled != nil && !*enabled {
		return nil
	}
	return z
}

// gzipLevel reads compression_level and compression_strategy, in Ambassador's words
// and in Envoy's.
func (f *fields) gzipLevel() int {
	level, text := -1, strings.ToLower(f.text("compression_level"))
	switch text {
	case "", "default", "default_compression":
	case "best", "best_compression":
		level = 9
	case "speed", "best_speed":
		level = 1
	default:
		n, err := strconv.Atoi(strings.TrimPrefix(text, "compression_level_"))
		if err != nil || n < 1 || n > 9 {
			f.wrong(f.find("compression_level"), "DEFAULT, BEST, SPEED or a number from 1 to 9")
			break
		}
		level = n
	}
	switch strategy := strings.ToLower(f.text("compression_strategy")); strategy {
	case "", "default", "default_strategy", "filtered", "fixed", "rle":
	case "huffman", "huffman_only":
		level = -2
	default:
		f.wrong(f.find("compression_strategy"), "one of DEFAULT, FILTERED, FIXED, HUFFMAN, RLE")
	}
	return level
}
