package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
)

// holdMain opens connections, makes one request on each and keeps them idle
// until its standard input ends. Then it makes one more request on each: a
// contestant that closed some of them saved memory by not doing the work.
func holdMain(args []string) error {
	fs := flag.NewFlagSet("hold", flag.ExitOnError)
	addr, target := fs.String("addr", "", "address"), fs.String("target", "", "request target")
	secure := fs.Bool("tls", false, "over TLS")
	n := fs.Int("n", 0, "connections")
	_ = fs.Parse(args)
	var conf *tls.Config
	if *secure {
		conf = tlsConfig(nil)
	}
	held := make([]*client, *n)
	err := inParallel(*n, func(i int) (err error) {
		if held[i], err = dialClient(*addr, conf, getRequest(*target, "keep-alive")); err != nil {
			return err
		}
		return held[i].exchange()
	})
	if err != nil {
		return err
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return inParallel(*n, func(i int) error { return held[i].exchange() })
}

// inParallel calls do for 0 to n-1, eight at a time, and returns the first error.
func inParallel(n int, do func(i int) error) error {
	const workers = 8
	var wg sync.WaitGroup
	failed := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := do(i); err != nil {
					failed <- fmt.Errorf("connection %d of %d: %w", i+1, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	return <-failed
}
