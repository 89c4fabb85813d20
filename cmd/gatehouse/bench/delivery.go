package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// deliveryPlan is what is measured of delivery to targets: the benchmarks of
// provisioning/outbox, as a program.
type deliveryPlan struct {
	program string // go test -c -o bin/outbox.test ./provisioning/outbox
	peers   string // the folder with npm's modules; empty: scimmy-routers is left out
	rounds  int
}

// deliveries are the benchmarks, each with how much it does in a round.
var deliveries = []struct{ bench, times string }{
	{"Import$", "2000x"}, {"Lag$", "1000x"}, {"Wait$", "100x"}, {"Converge/own", "1000x"}, {"Converge/scimmy", "300x"},
}

// measureDelivery prints one table: of each figure the median of the rounds, the
// least and the greatest.
func measureDelivery(ctx context.Context, plan deliveryPlan) error {
	env := os.Environ()
	if plan.peers != "" {
		dir, err := os.MkdirTemp("", "gatehouse-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "scimmy.mjs"), scimmyScript, 0o600), os.Symlink(filepath.Join(plan.peers, "node_modules"), filepath.Join(dir, "node_modules"))); err != nil {
			return err
		}
		env = append(env, "GATEHOUSE_BENCH_SCIMMY="+dir)
	}
	var order []string
	figures := map[string][]float64{}
	for range plan.rounds {
		for _, d := range deliveries {
			args := []string{plan.program, "-test.run", "^$", "-test.bench", d.bench, "-test.benchtime", d.times}
			if _, err := exec.LookPath("taskset"); err == nil {
				args = append([]string{"taskset", "-c", "0-1023"}, args...) // all cores, also if this program has one
			}
			cmd := exec.CommandContext(ctx, args[0], args[1:]...)
			cmd.Env, cmd.Stderr = env, os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("benchmark %s: %w: %s", d.bench, err, out)
			}
			for name, value := range benchmarked(out) {
				if figures[name] == nil {
					order = append(order, name)
				}
				figures[name] = append(figures[name], value)
			}
		}
	}
	fmt.Printf("\n%-46s %10s %10s %10s\n", "delivery to targets", "median", "least", "greatest")
	slices.Sort(order)
	for _, name := range order {
		f := figures[name]
		slices.Sort(f)
		fmt.Printf("%-46s %10.1f %10.1f %10.1f\n", name, f[len(f)/2], f[0], f[len(f)-1])
	}
	return nil
}

// benchmarked are the figures in what a benchmark prints, by its name and their
// unit, without those of package testing.
func benchmarked(out []byte) map[string]float64 {
	all := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at]
		}
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil && words[i+1] != "ns/op" {
				all[name+" "+words[i+1]] = v
			}
		}
	}
	return all
}
