package main

import (
	"context"
	"errors"
	"strings"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/tracing"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// newTracer is who tells of requests, if the configuration wants that.
func (p *process) newTracer(cfg *configs.Config) *tracing.Tracer {
	c := cfg.Server.Tracing
	if c == nil {
		return nil
	}
	headers := map[string]string{}
	for name, value := range c.Headers {
		headers[name] = value.Value()
	}
	return tracing.New(tracing.Config{
		Endpoint: c.URL, Headers: headers, Sample: float64(c.Percent) / 100, Version: version,
		Lost: func(err error) { p.log.Warn("traces are lost", "error", err) },
	})
}

// traced is a handler of tasks about a user at a target, whose runs are traced.
func (p *process) traced(operation string, handle task.Handler) task.Handler {
	return func(ctx context.Context, key string) error {
		target, userID, _ := strings.Cut(key, "/")
		span := p.site.Load().tracer.Task(ctx, "gatehouse.task "+operation, userID)
		defer span.End()
		span.Say(tracing.KeyTarget, target)
		err := handle(ctx, key)
		span.Failed(kindOf(err))
		return err
	}
}

// kindOf says what becomes of a task after an error; what the error says may be
// about a person.
func kindOf(err error) string {
	var again *task.Retry
	var park *task.Park
	switch {
	case err == nil:
		return ""
	case errors.As(err, &park):
		return "parked"
	case errors.As(err, &again):
		return "again"
	}
	return "failed"
}
