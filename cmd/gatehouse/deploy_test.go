package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

func TestTheManualPageHasEveryVerb(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	root := command()
	if err := writeMan(&b, root); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, c := range root.Commands() {
		if !strings.Contains(page, "\n.SS "+roff(c.Name())) {
			t.Errorf("%s is not in the manual", c.Name())
		}
	}
	if strings.Contains(page, "\n'") {
		t.Error("a line of text is taken for a macro")
	}
}

func TestCompletionsExistForFourShells(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var b bytes.Buffer
		root := command()
		root.SetOut(&b)
		root.SetArgs([]string{"completion", shell})
		if err := root.Execute(); err != nil || !strings.Contains(b.String(), "gatehouse") {
			t.Errorf("%s: %v", shell, err)
		}
	}
}

// chart is the Helm chart's template and values, without Helm: every value that the
// template names is in values.yaml, and the configuration in it is accepted.
func TestTheChartNamesValuesThatExistAndAConfigurationThatIsGood(t *testing.T) {
	t.Parallel()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(readDoc(t, "deploy/helm/gatehouse/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	template := readDoc(t, "deploy/helm/gatehouse/templates/gatehouse.yaml")
	named := regexp.MustCompile(`\.Values((?:\.\w+)+)`).FindAllStringSubmatch(template, -1)
	if len(named) < 8 {
		t.Fatalf("only %d values were found", len(named))
	}
	for _, m := range named {
		var at any = values
		for part := range strings.SplitSeq(m[1][1:], ".") {
			in, _ := at.(map[string]any)
			var ok bool
			if at, ok = in[part]; !ok {
				t.Errorf("the template names %s, which is not in values.yaml", m[0])
			}
		}
	}
	if open, end := strings.Count(template, "{{- with"), strings.Count(template, "{{- end"); open != end {
		t.Errorf("%d blocks begin and %d end", open, end)
	}
	for _, want := range []string{"runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "drop: [ALL]", "automountServiceAccountToken: false", "path: /readyz", "path: /healthz", "replicas: 1"} {
		if !strings.Contains(template, want) {
			t.Errorf("the template has no %s", want)
		}
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "store.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(values["config"].(string), "/run/secrets/gatehouse/store.key", key)
	file := filepath.Join(dir, "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, mistakes := loadAll(file)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	if _, port, _ := strings.Cut(string(cfg.Server.Listen), ":"); !strings.Contains(template, "name: front, containerPort: "+port) {
		t.Errorf("the configuration listens at %s, the chart's port is another", cfg.Server.Listen)
	}
	if !strings.Contains(template, "mountPath: "+filepath.Dir(cfg.Store.Bolt())) {
		t.Errorf("the store %s is on no volume", cfg.Store.Bolt())
	}
}

func TestTheUnitRunsVerbsThatExistAndIsHardened(t *testing.T) {
	t.Parallel()
	unit := readDoc(t, "deploy/systemd/gatehouse.service")
	starts := regexp.MustCompile(`(?m)^Exec\w+=/usr/bin/gatehouse (\w+) -c (\S+)$`).FindAllStringSubmatch(unit, -1)
	if len(starts) != 2 {
		t.Fatalf("%d commands were found", len(starts))
	}
	for _, s := range starts {
		if c, _, err := command().Find([]string{s[1]}); err != nil || c.Flags().Lookup("config") == nil {
			t.Errorf("gatehouse %s -c: %v", s[1], err)
		}
	}
	for _, want := range []string{"Type=notify", "User=gatehouse", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "MemoryDenyWriteExecute=yes", "StateDirectoryMode=0700", "SystemCallFilter=@system-service"} {
		if !strings.Contains(unit, "\n"+want+"\n") {
			t.Errorf("the unit has no line %s", want)
		}
	}
	if tool, err := exec.LookPath("systemd-analyze"); err == nil {
		// It complains of the program that is not there, and of nothing else.
		out, _ := exec.Command(tool, "verify", filepath.Join(repository, "deploy/systemd/gatehouse.service")).CombinedOutput()
		if bytes.Contains(out, []byte("Unknown")) || bytes.Contains(out, []byte("Failed to parse")) {
			t.Errorf("%s", out)
		}
	}
}

func TestTheImageIsNotRootAndHasNoShell(t *testing.T) {
	t.Parallel()
	file := readDoc(t, "deploy/docker/Dockerfile")
	_, last, ok := strings.Cut(file, "\nFROM gcr.io/distroless/static")
	if !ok || !strings.Contains(last, "\nUSER nonroot:nonroot\n") || strings.Contains(last, "\nRUN ") {
		t.Error("the last stage is not distroless, or is root's")
	}
	if !strings.Contains(last, `ENTRYPOINT ["/usr/bin/gatehouse"]`) {
		t.Error("the image runs something else")
	}
}

// A list of parts names each module that is linked, as it is linked.
func TestTheListOfPartsHasWhatIsLinked(t *testing.T) {
	t.Parallel()
	got := partsOf(&debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "example.org/a", Version: "v1.2.3", Sum: "h1:x="},
		{Path: "example.org/b", Version: "v0.1.0", Replace: &debug.Module{Path: "example.org/c/v2", Version: "v2.0.0", Sum: "h1:y="}},
	}}).Components
	want := []part{
		{Type: "library", Name: "std", Version: "go1.26.8", URL: "pkg:golang/std@go1.26.8"},
		{Type: "library", Name: "example.org/a", Version: "v1.2.3", URL: "pkg:golang/example.org/a@v1.2.3", Properties: []property{{"go.sum", "h1:x="}}},
		{Type: "library", Name: "example.org/c/v2", Version: "v2.0.0", URL: "pkg:golang/example.org/c/v2@v2.0.0", Properties: []property{{"go.sum", "h1:y="}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
