package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
)

// configFlag is -c on every verb that needs a configuration.
func configFlag(cmd *cobra.Command) *string {
	def := os.Getenv("GATEHOUSE_CONFIG")
	if def == "" {
		def = "gatehouse.yaml"
	}
	return cmd.Flags().StringP("config", "c", def, "the configuration file (environment: GATEHOUSE_CONFIG)")
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Run the gateway", Args: args(cobra.NoArgs),
		Long: "Runs the gateway until SIGTERM or Ctrl-C, which let requests under way finish.\nSIGHUP, or a change of the file or of one that it names, makes it read the configuration again; a bad one\nchanges nothing.\nSIGUSR2 does as `gatehouse upgrade` does.",
	}
	file := configFlag(cmd)
	verbose := cmd.Flags().BoolP("verbose", "v", false, "log more")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		level := slog.LevelInfo
		if *verbose {
			level = slog.LevelDebug
		}
		from, err := inherit()
		if err != nil {
			return err
		}
		program, err := thisProgram()
		if err != nil {
			return err
		}
		w := &watch{file: *file}
		load := func() (*configs.Config, []configs.Mistake) {
			cfg, mistakes := loadAll(*file)
			if len(mistakes) == 0 {
				w.taken(cfg)
			}
			return cfg, mistakes
		}
		cfg, mistakes := load()
		var surprises []configs.Mistake
		if len(mistakes) == 0 {
			mistakes, surprises = examine(cfg, time.Now())
		}
		if len(mistakes) > 0 {
			printMistakes(mistakes)
			return errSaid
		}
		log, out := logger(level)
		defer out.close()
		warn(log, surprises)
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		go w.run(cmd.Context(), hup)
		usr2 := make(chan os.Signal, 1)
		if len(upgradeSignals) > 0 { // none would mean all
			signal.Notify(usr2, upgradeSignals...)
			defer signal.Stop(usr2)
		}
		return serve(cmd.Context(), launch{cfg: cfg, load: load, hup: hup, log: log, out: out, now: time.Now, program: program, upgrade: usr2, heir: from})
	}
	return cmd
}

// A watch looks at the file of a configuration and at those that it names: a secret
// or a certificate that is replaced is read again.
type watch struct {
	file  string
	named atomic.Pointer[named]
}

// named are the files of a configuration that was read, as they were then.
type named struct {
	files []string
	stamp string
}

// taken notes what a configuration that was read names.
func (w *watch) taken(cfg *configs.Config) {
	files := append([]string{w.file}, cfg.Files()...)
	w.named.Store(&named{files, looks(files)})
}

// looks is another when one of the files is another; empty: the first is not there,
// which is so for a moment when it is replaced.
func looks(files []string) string {
	var b strings.Builder
	for i, file := range files {
		info, err := os.Stat(file)
		switch {
		case err == nil:
			fmt.Fprintln(&b, file, info.ModTime().UnixNano(), info.Size())
		case i == 0:
			return ""
		}
	}
	return b.String()
}

// run sends a SIGHUP's worth when a file has changed and all are still, until ctx
// ends.
func (w *watch) run(ctx context.Context, changed chan<- os.Signal) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	n, last := w.named.Load(), ""
	if n == nil {
		n = &named{files: []string{w.file}, stamp: looks([]string{w.file})}
	}
	known := n.stamp
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if other := w.named.Load(); other != nil && other != n {
			n, known = other, other.stamp // it was read meanwhile
		}
		now := looks(n.files)
		if now != "" && now != known && now == last {
			known = now
			select {
			case changed <- syscall.SIGHUP:
			default:
			}
		}
		last = now
	}
}

// loadAll reads a configuration and compiles what is in it, so that every
// mistake of both is reported together.
func loadAll(file string, opts ...configs.Option) (*configs.Config, []configs.Mistake) {
	cfg, mistakes := configs.Load(file, opts...)
	if cfg == nil {
		return nil, mistakes
	}
	_, more := compile(cfg, nil)
	return cfg, cfg.Merge(mistakes, more)
}

// examine says of a configuration that was read what else keeps it from being served,
// and what may surprise: the check, the start and each reload ask the same.
func examine(cfg *configs.Config, now time.Time) (mistakes, surprises []configs.Mistake) {
	mistakes, surprises = certificate(cfg, now)
	return mistakes, configs.Sort(append(cfg.Surprises(), surprises...))
}

// warn logs what may surprise in a configuration that is served.
func warn(log *slog.Logger, surprises []configs.Mistake) {
	for _, s := range surprises {
		log.Warn("configuration", "surprise", s.String())
	}
}

func printMistakes(list []configs.Mistake) {
	for _, m := range list {
		fmt.Fprintln(os.Stderr, m)
	}
}
