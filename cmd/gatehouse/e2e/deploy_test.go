//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is delivered for other people's programs is good to those programs.
func TestOthersTakeWhatIsDelivered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"the chart":             {"0 chart(s) failed", []string{filepath.Join(tools, "helm"), "lint", "--strict", "../../../deploy/helm/gatehouse"}},
		"the chart, filled out": {"kind: StatefulSet", []string{filepath.Join(tools, "helm"), "template", "gate", "../../../deploy/helm/gatehouse"}},
		"the alert rules":       {"SUCCESS", []string{"promtool", "check", "rules", "../../../deploy/prometheus/alerts.yaml"}},
	} {
		out, err := exec.Command(c.args[0], c.args[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
