package regions

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"nearside/dev/load"
)

// No secret of the world, whatever has happened in it until now, stands where
// somebody could read it who is not to have it: in a log, a metric, a process's
// arguments, what a command or a port says, or a file that others may open.
func TestNoSecretIsTold(t *testing.T) {
	secrets := map[string]string{} // what for, by text
	add := func(what, text string) {
		t.Helper()
		if len(text) < 16 {
			t.Fatalf("%s is no secret: %q", what, text)
		}
		secrets[text] = what
	}
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	content := func(path string, into any) {
		t.Helper()
		var sealed struct{ Content json.RawMessage }
		if err := json.Unmarshal([]byte(read(path)), &sealed); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(sealed.Content, into); err != nil {
			t.Fatal(err)
		}
	}
	secretFiles := map[string]bool{file("database"): true} // that one names a database, nothing more
	for what, name := range map[string]string{
		"the admin token": "admin.token", "the join token": "join.token", "the gossip key": "gossip.key", "the database's password": "postgres.password",
	} {
		add(what, read(file(name)))
		secretFiles[file(name)] = true
	}
	pem := func(what, path string) {
		t.Helper()
		lines := strings.Split(read(path), "\n")
		if len(lines) < 3 || !strings.Contains(lines[0], "PRIVATE KEY") {
			t.Fatalf("%s holds no key", path)
		}
		add(what, lines[1])
		secretFiles[path] = true
	}
	pem("the authority's key", filepath.Join(file("tls"), "ca.key"))
	for _, e := range edges {
		var identity struct{ Secret string }
		content(filepath.Join(e.Dir, "identity.json"), &identity)
		_, secret, _ := strings.Cut(identity.Secret, ".")
		add("the secret of "+e.Node, secret)
		var certificate struct{ Key string }
		content(filepath.Join(e.Dir, "certificate.json"), &certificate)
		add("the key of "+e.Node, strings.Split(certificate.Key, "\n")[1])
		var keys []struct{ Secret string }
		content(filepath.Join(e.Dir, "keys.json"), &keys)
		for i, k := range keys {
			add(fmt.Sprintf("token key %d", i), k.Secret)
			raw, err := hex.DecodeString(k.Secret)
			if err != nil {
				t.Fatal(err)
			}
			add(fmt.Sprintf("token key %d in base64", i), base64.StdEncoding.EncodeToString(raw))
		}
		for _, name := range []string{"identity.json", "certificate.json", "keys.json"} {
			secretFiles[filepath.Join(e.Dir, name)] = true
		}
	}
	if len(secrets) < 12 {
		t.Fatalf("only %d secrets are known", len(secrets))
	}
	places := 0
	look := func(where, text string) {
		t.Helper()
		if text == "" {
			t.Errorf("%s is empty: nothing was looked at", where)
		}
		places++
		for secret, what := range secrets {
			// Whole, as an URL has it, or its beginning, which is enough to go by.
			for _, form := range []string{secret, url.QueryEscape(secret), secret[:16]} {
				if strings.Contains(text, form) {
					t.Errorf("%s tells %s", where, what)
				}
			}
		}
	}

	// A search that finds nothing finds nothing wrong only if it can find.
	if found := func() bool {
		for secret := range secrets {
			return strings.Contains("x"+secret+"y", secret[:16])
		}
		return false
	}(); !found {
		t.Fatal("the search is broken")
	}

	// Mistakes, which are what makes programs talk.
	get := func(url, credential string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", credential)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		var b bytes.Buffer
		_, _ = b.ReadFrom(answer.Body)
		return answer.Status + b.String()
	}
	for secret, what := range secrets {
		look("the admin API, asked with "+what, get(here.Ready().Admin+"/v1/publishers/none", "Basic "+secret))
		look("an edge, asked with "+what, get(edges[0].Public+"/api/v1/decision/?publisher=none", "Token "+secret))
	}

	// What ports and commands say.
	for _, path := range []string{"/v1/tokens", "/v1/edges", "/v1/audit", "/v1/catalog/versions"} {
		status, body, err := here.Admin(t.Context(), http.MethodGet, path, nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d, %v", path, status, err)
		}
		look(path, string(body))
	}
	ports := []string{here.Ops(0), here.Ops(1)}
	for _, e := range edges {
		ports = append(ports, e.Ops)
	}
	for _, ops := range ports {
		for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/cmdline"} {
			answer, err := browser.Get(t.Context(), ops+path, load.Reader{})
			if err != nil {
				t.Fatal(err)
			}
			look(ops+path, string(answer.Body))
		}
	}
	for _, args := range [][]string{
		{"token", "list"}, {"join-token", "list"}, {"token-key", "list"}, {"ca", "list"}, {"serve", "--check"},
	} {
		look("nearside-core "+strings.Join(args, " "), core(t, args...))
	}
	check := exec.CommandContext(t.Context(), filepath.Join(programs, "nearside-edge"),
		"--check", "--region=r", "--node=n", "--core=https://127.0.0.1:1", "--state-dir="+t.TempDir(), "--tls-dir="+file("tls-edge"),
		"--join-token-file="+file("join.token"), "--gossip-key-file="+file("gossip.key"), "--operator-token-file="+file("admin.token"))
	said, err := check.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	look("nearside-edge --check", string(said))

	// What runs, as the system shows it to everybody.
	pids := []int{here.Core.PID()}
	for _, p := range append(here.Others, here.Edges...) {
		pids = append(pids, p.PID())
	}
	for _, pid := range pids {
		cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if os.IsNotExist(err) {
			t.Logf("process arguments are not looked at: this system has no /proc")
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		look("the arguments of process "+strconv.Itoa(pid), strings.ReplaceAll(string(cmdline), "\x00", " "))
	}

	// Files: the logs, and whatever else lies about. Those that hold secrets are
	// their owner's alone.
	err = filepath.WalkDir(filepath.Dir(file("log")), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !entry.Type().IsRegular() {
			if entry != nil && entry.IsDir() && strings.HasPrefix(entry.Name(), "postgres") {
				return fs.SkipDir // which keeps token keys, as its manual says
			}
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if secretFiles[path] {
			if mode := info.Mode().Perm(); mode&0o077 != 0 && path != file("database") {
				t.Errorf("%s has mode %v, want it its owner's alone", path, mode)
			}
			return nil
		}
		if info.Size() == 0 || strings.Contains(path, "journal-") || strings.HasPrefix(entry.Name(), "catalog") {
			return nil
		}
		look(path, read(path)+" ")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d secrets were looked for in %d places", len(secrets), places)
}
