package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a child pinned to one core, ended by its own handle.
type process struct {
	cmd    *exec.Cmd
	name   string
	stderr string // file
	ended  chan struct{}
	err    error // valid once ended is closed
}

// startPinned starts argv on core. stdin and stdout, which may be
// nil, are files and so inherited, not copied; standard error goes to a file.
func startPinned(core int, stdin, stdout *os.File, stderr string, argv ...string) (*process, error) {
	errFile, err := os.Create(stderr)
	if err != nil {
		return nil, err
	}
	defer errFile.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = errFile
	if stdin != nil { // a nil *os.File in an interface would not be nil
		cmd.Stdin = stdin
	}
	if stdout != nil {
		cmd.Stdout = stdout
	}
	// A group of its own: an interrupt at the terminal reaches only the bench, which ends its
	// children in order, and their children with them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := onCore(core, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p := &process{cmd: cmd, name: argv[0], stderr: stderr, ended: make(chan struct{})}
	go p.await()
	return p, nil
}

func (p *process) await() {
	p.err = p.cmd.Wait()
	close(p.ended)
}

// stop ends p and whatever it started; it returns when p is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// failure says why p ended although nobody asked it to.
func (p *process) failure() error {
	text, _ := os.ReadFile(p.stderr)
	return fmt.Errorf("%s ended (%w): %s", p.name, errors.Join(p.err), tail(text, 600))
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// onCore calls start on a thread that may run on one core only; a child
// inherits that.
func onCore(core int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	err := start()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

// runPinned runs argv on core until it ends or ctx does, and returns its output.
func runPinned(ctx context.Context, core int, stderr string, argv ...string) ([]byte, error) {
	out, err := os.CreateTemp(filepath.Dir(stderr), "out")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	p, err := startPinned(core, nil, out, stderr, argv...)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	case <-p.ended:
	}
	text, err := os.ReadFile(out.Name())
	if p.err != nil {
		return text, fmt.Errorf("%w %s", p.failure(), tail(text, 300))
	}
	return text, err
}
