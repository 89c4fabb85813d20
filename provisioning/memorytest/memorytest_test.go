package memorytest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

const wanted = 32 << 20

// TestTheProcessThatWantsMemory is that process. It waits to be confined.
func TestTheProcessThatWantsMemory(t *testing.T) {
	if os.Getenv("MEMORYTEST") == "" {
		t.Skip("only what TestAProcessHasNoMoreThanItMay starts")
	}
	_, _ = io.ReadAll(os.Stdin)
	b := make([]byte, wanted)
	for i := 0; i < len(b); i += 512 {
		b[i] = 1
	}
	fmt.Println("had", len(b))
}

func TestAProcessHasNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		limit  int
		enough bool
	}{"half of what it wants": {wanted / 2, false}, "more than that": {wanted << 5, true}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTheProcessThatWantsMemory$")
		cmd.Env = append(os.Environ(), "MEMORYTEST=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		most, ok := Confine(t, cmd.Process.Pid, c.limit)
		_ = in.Close()
		err = cmd.Wait()
		if !ok {
			t.Skip("this needs the right to make a control group")
		}
		// With little it may end, or swap; a page more than the limit may be counted.
		if had := most(); had > c.limit+1<<20 || c.enough && (err != nil || had < wanted) {
			t.Errorf("%s: it had %d of %d bytes, and ended with %v", what, had, c.limit, err)
		}
	}
}
