package main

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// follow shows how far long work is until it has ended. Ctrl-C pauses it.
func (a *admin) follow(ctx context.Context, kind, key string, m *meter) error {
	watch, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if a.work != nil {
		worked := make(chan struct{})
		go func() {
			defer close(worked)
			if err := a.workOn(ctx, kind, key); err != nil {
				stop(err)
			}
		}()
		defer func() { <-worked }()
	}
	t, err := a.watch(watch, kind, key, m)
	switch {
	case ctx.Err() != nil:
		return a.pause(context.WithoutCancel(ctx), kind, key)
	case err != nil:
		return err
	case t.State == task.Paused:
		return errNo("it was paused — the same command goes on")
	}
	return nil
}

// workOn does long work in this process, also when it has to wait.
func (a *admin) workOn(ctx context.Context, kind, key string) error {
	for {
		err := a.work(context.WithoutCancel(ctx), kind, key)
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

// pause pauses long work and waits until it stands.
func (a *admin) pause(ctx context.Context, kind, key string) error {
	var t task.Task
	if _, err := a.call(ctx, "POST", "task/pause", taskQuery(kind, key), &t); err != nil {
		return err
	}
	for t.State == task.Running {
		time.Sleep(watchEvery)
		if _, err := a.call(ctx, "GET", "task", taskQuery(kind, key), &t); err != nil {
			return err
		}
	}
	return errNo("paused: " + progressLine(t) + " — the same command goes on")
}
