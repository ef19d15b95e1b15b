package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// options is what one run is asked to do.
type options struct {
	only          *regexp.Regexp // matched against "row/contestant"; nil for all
	rounds        int
	duration      time.Duration // of one load
	warm          time.Duration // of the load before it
	settle        time.Duration // before memory is read
	connections   int           // keep-alive connections of a load over HTTP/1.1, and WebSockets
	h2Connections int           // connections of a load over HTTP/2
	streams       int           // at a time on each of them
	crowd         int           // connections of the overload row
	idle          int           // idle connections whose memory is measured
	handshakes    int
	rate          int // requests a second of the latency rows
	proxyCore     int
	loadCore      int
	legate        string
	work          string
	out           string
	pgo           string
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := fs.String("only", "", "regexp of what to measure, matched against row/contestant, as in 'h1-get-300/(nginx|legate)'")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds; figures are medians over them")
	fs.DurationVar(&o.duration, "duration", 3*time.Second, "how long one load lasts")
	fs.DurationVar(&o.warm, "warm", 500*time.Millisecond, "load before each measured load")
	fs.DurationVar(&o.settle, "settle", 3*time.Second, "wait before memory is read")
	fs.IntVar(&o.connections, "connections", 64, "keep-alive connections of a load over HTTP/1.1, and WebSockets")
	fs.IntVar(&o.h2Connections, "h2-connections", 16, "connections of a load over HTTP/2")
	fs.IntVar(&o.streams, "streams", 10, "streams at a time on each connection of a load over HTTP/2")
	fs.IntVar(&o.crowd, "crowd", 512, "connections in the overload row")
	fs.IntVar(&o.idle, "idle", 4000, "idle connections in the memory rows")
	fs.IntVar(&o.handshakes, "handshakes", 3000, "TLS connections in the handshake rows")
	fs.IntVar(&o.rate, "rate", 5000, "requests a second in the latency rows")
	fs.IntVar(&o.proxyCore, "proxy-core", 0, "core of the contestants")
	fs.IntVar(&o.loadCore, "load-core", 1, "core of load and upstream")
	fs.StringVar(&o.legate, "legate", "bin/legate", "Legate's binary")
	fs.StringVar(&o.work, "work", "bench/.work", "folder for generated files")
	fs.StringVar(&o.out, "out", "bench/results/"+time.Now().UTC().Format("20060102-150405")+".json", "where the raw figures go")
	fs.StringVar(&o.pgo, "pgo", "", "record a CPU profile of Legate under the mix, or what of it -only names, to this file, and nothing else")
	quick := fs.Bool("quick", false, "one short round: shows that everything works, its figures mean little")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if *quick {
		o.rounds, o.duration, o.warm, o.settle = 1, 600*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
		o.idle, o.handshakes = 400, 200
		if !isSet(fs, "out") {
			o.out = filepath.Join(o.work, "quick.json") // not worth keeping
		}
	}
	if *only != "" {
		re, err := regexp.Compile(*only)
		if err != nil {
			fmt.Fprintln(fs.Output(), "-only:", err)
			return nil, err
		}
		o.only = re
	}
	if o.proxyCore == o.loadCore || max(o.proxyCore, o.loadCore) >= runtime.NumCPU() {
		err := fmt.Errorf("cores %d and %d: two different ones out of %d are needed", o.proxyCore, o.loadCore, runtime.NumCPU())
		fmt.Fprintln(fs.Output(), err)
		return nil, err
	}
	return o, nil
}

// wants tells whether a row is to be measured for a contestant.
func (o *options) wants(row, contestant string) bool {
	return o.only == nil || o.only.MatchString(row+"/"+contestant)
}

func isSet(fs *flag.FlagSet, name string) (set bool) {
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
