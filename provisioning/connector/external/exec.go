package external

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// Path is where a program finds others: its environment has nothing of ours.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exec starts a program for each call: without a shell, in the folder it is in,
// with an environment of its own, in a process group of its own, which is ended
// with it. On Linux so is what it started in another group or session, as long as
// that has kept its [Mark]; elsewhere such a process outlives the call. The call
// is on its standard input; what it writes to standard output before it ends with
// status 0 is the answer.
type Exec struct {
	Program string   // an absolute path
	Args    []string // as they are
	Env     []string // NAME=value, besides PATH, LANG, TZ and the Mark
	// Timeout of one call; 0: 30 s.
	Timeout time.Duration
	// Stderr gets what the program writes there; nil: nobody. It may hold anything,
	// so it belongs before the eyes of who wrote the program, not in a log.
	Stderr io.Writer

	slots chan struct{}
}

// NewExec makes a Carrier that runs at most atOnce of the program at a time; 0: 4.
func NewExec(e Exec, atOnce int) (*Exec, error) {
	if !filepath.IsAbs(e.Program) {
		return nil, errors.New("external connector: the path of the program must be absolute")
	}
	if e.Timeout == 0 {
		e.Timeout = 30 * time.Second
	}
	if atOnce <= 0 {
		atOnce = 4
	}
	e.slots = make(chan struct{}, atOnce)
	return &e, nil
}

// Mark is a variable in the environment of every process of a call, with a value
// of the call's own.
const Mark = "GATEHOUSE_CALL"

// Secrets are the values of its environment, as no answer may tell them.
func (e *Exec) Secrets() (values []string) {
	for _, pair := range e.Env {
		if _, v, ok := strings.Cut(pair, "="); ok {
			values = append(values, v)
		}
	}
	return values
}

// lingering is how long the streams of a program that has ended are waited for.
const lingering = time.Second

// Carry runs the program once.
func (e *Exec) Carry(ctx context.Context, call []byte) ([]byte, error) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return nil, &connector.Error{Text: "waiting for another run to end", Err: ctx.Err()}
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, &connector.Error{Text: "run the program", Err: err}
	}
	out := &bounded{cancel: cancel}
	cmd := exec.CommandContext(ctx, e.Program, e.Args...)
	mark := Mark + "=" + rand.Text()
	cmd.Env = slices.Concat([]string{"PATH=" + Path, "LANG=C.UTF-8", "TZ=UTC", mark}, e.Env)
	cmd.Dir = filepath.Dir(e.Program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(call), out, e.Stderr
	ownGroup(cmd)
	cmd.Cancel = func() error { return endGroup(cmd) }
	cmd.WaitDelay = lingering
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return nil, &connector.Error{Text: "run the program", Err: ctx.Err()}
		}
		return nil, &connector.Error{Class: connector.Route, Text: "the program can not be started", Err: reason(err)}
	}
	err := cmd.Wait()
	_ = endGroup(cmd) // what it left running, if anything
	endMarked(mark)
	switch {
	case out.over:
		return nil, &connector.Error{Class: connector.Route, Ambiguous: true, Text: tooLarge}
	case ctx.Err() != nil:
		return nil, &connector.Error{Ambiguous: true, Text: "the program did not end in time", Err: ctx.Err()}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, &connector.Error{Ambiguous: true, Text: "the program failed", Err: err}
	}
	return out.said, nil
}

// reason is an error without the path in it.
func reason(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// bounded keeps an answer, and ends the program that says too much.
type bounded struct {
	said   []byte
	cancel context.CancelFunc
	over   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.said)+len(p) > MaxAnswer {
		b.over = true
		b.cancel()
		return 0, io.ErrShortWrite
	}
	b.said = append(b.said, p...)
	return len(p), nil
}
