package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// follow shows how far long work is until it has ended. Ctrl-C pauses it.
func (a *admin) follow(ctx context.Context, kind, key string, m *meter) error {
	watch, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	after := context.WithoutCancel(ctx) // Ctrl-C
	work, halt := context.WithCancel(after)
	if a.work != nil {
		worked := make(chan struct{})
		go func() {
			defer close(worked)
			if err := a.workOn(work, kind, key); err != nil {
				stop(err)
			}
		}()
		defer func() { <-worked }()
	}
	defer halt()
	t, err := a.watch(watch, kind, key, m)
	if ctx.Err() != nil {
		t, err = a.pause(after, halt, kind, key)
	}
	switch {
	case err != nil:
		return err
	case t.State == task.Paused:
		return errNo(strings.TrimSuffix("paused: "+progressLine(t), ": ") + " — the same command goes on")
	}
	return nil
}

// workOn does long work in this process, also when it has to wait.
func (a *admin) workOn(ctx context.Context, kind, key string) error {
	for {
		err := a.work(ctx, kind, key)
		var later *task.Retry
		switch {
		case errors.Is(err, task.ErrPaused), errors.Is(err, task.ErrCancelled), ctx.Err() != nil:
			return nil // that stands in the task
		case !errors.As(err, &later):
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(later.After):
		}
	}
}

// pause pauses long work, halts it if it is done in this process, and waits until
// it stands. What was done before that is done.
func (a *admin) pause(ctx context.Context, halt func(), kind, key string) (t task.Task, err error) {
	_, err = a.call(ctx, "POST", "task/pause", taskQuery(kind, key), &t)
	halt()
	if err != nil {
		_, err = a.call(ctx, "GET", "task", taskQuery(kind, key), &t)
	}
	for err == nil && t.State == task.Running {
		time.Sleep(watchEvery)
		_, err = a.call(ctx, "GET", "task", taskQuery(kind, key), &t)
	}
	return t, err
}
