package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// Every metric that the alerts of docs/operate/alerts.yml name is one that the
// running core or a running edge exposes, and every alert says what to do.
func TestAlertsNameMetricsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/operate/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	exposed := metrics(t, coreOps(t)) + metrics(t, edges[0].Ops)
	metric := regexp.MustCompile(`nearside_[a-z_]+`)
	seen := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("%s: alert %q lacks its name, severity, summary or action", g.Name, r.Alert)
			}
			for _, name := range metric.FindAllString(r.Expr, -1) {
				seen++
				if !strings.Contains(exposed, "\n"+name+"{") && !strings.Contains(exposed, "\n"+name+" ") {
					t.Errorf("%s: nobody exposes %s", r.Alert, name)
				}
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d metrics are named: this shows nothing", seen)
	}
}

func metrics(t *testing.T, at string) string {
	t.Helper()
	answer, err := http.Get(at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", at, answer.StatusCode, err)
	}
	return "\n" + string(body)
}

// coreOps is the core's operations port: the one after that of the exchange.
func coreOps(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(here.Ready().Sync)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://%s:%d", u.Hostname(), port+1)
}
