package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
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
		Long: "Runs the gateway until SIGTERM or Ctrl-C, which let requests under way finish.\nSIGHUP, or a changed file, makes it read the configuration again; a bad one changes nothing.\nSIGUSR2 does as `gatehouse upgrade` does.",
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
		load := func() (*configs.Config, []configs.Mistake) { return loadAll(*file) }
		cfg, mistakes := load()
		if len(mistakes) > 0 {
			printMistakes(mistakes)
			return errSaid
		}
		log := logger(level)
		for _, s := range cfg.Surprises() {
			log.Warn("configuration", "surprise", s.String())
		}
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		go watchFile(cmd.Context(), *file, hup)
		usr2 := make(chan os.Signal, 1)
		if len(upgradeSignals) > 0 { // none would mean all
			signal.Notify(usr2, upgradeSignals...)
			defer signal.Stop(usr2)
		}
		return serve(cmd.Context(), launch{cfg: cfg, load: load, hup: hup, log: log, now: time.Now, program: program, upgrade: usr2, heir: from})
	}
	return cmd
}

// watchFile sends a SIGHUP's worth when the file has changed and is still.
func watchFile(ctx context.Context, file string, changed chan<- os.Signal) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stamp := func() string {
		info, err := os.Stat(file)
		if err != nil {
			return ""
		}
		return fmt.Sprint(info.ModTime().UnixNano(), info.Size())
	}
	taken, last := stamp(), ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := stamp()
		if now != "" && now != taken && now == last {
			taken = now
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
	_, more := compile(cfg)
	return cfg, cfg.Merge(mistakes, more)
}

func printMistakes(list []configs.Mistake) {
	for _, m := range list {
		fmt.Fprintln(os.Stderr, m)
	}
}
