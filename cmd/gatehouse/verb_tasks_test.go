package main

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// far is a task that did some rows in ten seconds.
func far(done, total int64, state task.State) task.Task {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return task.Task{State: state, Progress: &task.Progress{Done: done, Total: total, Failed: 2, Note: "applying", Started: at, Since: at, At: at.Add(10 * time.Second)}}
}

func TestProgressSaysCountRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	for want, tk := range map[string]task.Task{
		"250 of 1000, 2 failed, 25/s, 30s left, applying": far(250, 1000, task.Running),
		"250 of 1000, 2 failed, applying":                 far(250, 1000, task.Paused),
		"250, 2 failed, 25/s, applying":                   far(250, 0, task.Running),
		"1000 of 1000, 2 failed, 100/s, applying":         far(1000, 1000, task.Done),
		"": {State: task.Waiting},
	} {
		if got := progressLine(tk); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}

func TestAMeterIsABarOnATerminalAndLinesElsewhere(t *testing.T) {
	t.Parallel()
	show := func(m *meter) {
		for done := int64(0); done <= 1000; done += 50 {
			m.show(far(done, 1000, task.Running))
		}
		m.end()
	}
	var lines, bars strings.Builder
	show(&meter{w: &lines})
	if n := strings.Count(lines.String(), "\n"); n != 11 || strings.ContainsAny(lines.String(), "\r\x1b█") {
		t.Errorf("%d lines, want one for each tenth:\n%s", n, &lines)
	}
	show(&meter{w: &bars, terminal: true})
	drawn := strings.Split(bars.String(), "\r")
	if len(drawn) != 22 || strings.Count(drawn[11], "█") != barWidth/2 || !strings.HasSuffix(drawn[21], "\n") || strings.Count(drawn[21], "█") != barWidth {
		t.Errorf("drawn %q", drawn)
	}
	// What stands still says why, once.
	var still strings.Builder
	m := &meter{w: &still}
	for range 3 {
		m.show(task.Task{State: task.Waiting, Error: "it is paused: they move", Due: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	}
	if got := still.String(); got != "waiting: it is paused: they move; again at 03:04:05\n" {
		t.Errorf("of what waits it says %q", got)
	}
	if bar(nil) != "["+strings.Repeat("·", barWidth)+"]" {
		t.Errorf("nothing is drawn as %s", bar(nil))
	}
}
