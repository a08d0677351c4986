package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A packaged unit is confined as the deployed one is: from NoNewPrivileges on
// they are the same lines, so that whoever changes one is told of the other.
func TestUnitsAreConfinedAsDeployed(t *testing.T) {
	template, err := os.ReadFile("../../terraform/modules/node-config/templates/nearside.service.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	want := confinement(t, "the template", string(template))
	for _, role := range Roles {
		unit, err := files.ReadFile("files/nearside-" + role + ".service")
		if err != nil {
			t.Fatal(err)
		}
		if got := confinement(t, role, string(unit)); got != want {
			t.Errorf("nearside-%s.service is confined by\n%s\nand the template of terraform by\n%s", role, got, want)
		}
		for _, line := range []string{"DynamicUser=yes", "CapabilityBoundingSet=", "PrivateUsers=yes", "StateDirectoryMode=0700", "UMask=0077"} {
			if !strings.Contains(string(unit), "\n"+line+"\n") {
				t.Errorf("nearside-%s.service: no line %s", role, line)
			}
		}
	}
}

func confinement(t *testing.T, name, unit string) string {
	_, rest, found := strings.Cut(unit, "\nNoNewPrivileges=yes\n")
	if !found {
		t.Fatalf("%s: no line NoNewPrivileges=yes", name)
	}
	return rest
}

// What the packages' files tell an operator to set, the binaries read.
func TestSettingsExist(t *testing.T) {
	for role, command := range map[string][]string{"edge": {"--help"}, "core": {"serve", "--help"}} {
		help, err := exec.Command("go", append([]string{"run", "nearside/" + role + "/cmd/nearside-" + role}, command...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, name := range []string{role + ".env", "nearside-" + role + ".service", "Containerfile." + role} {
			content, err := files.ReadFile("files/" + name)
			if err != nil {
				t.Fatal(err)
			}
			for _, variable := range regexp.MustCompile(`NEARSIDE_[A-Z_]*[A-Z]`).FindAllString(string(content), -1) {
				if variable == "NEARSIDE_SOME_NAME" { // how flags and variables correspond
					continue
				}
				seen++
				if !regexp.MustCompile(`\$` + variable + `\b`).Match(help) {
					t.Errorf("%s names %s, which nearside-%s does not know", name, variable, role)
				}
			}
		}
		if seen == 0 {
			t.Errorf("%s: no setting is named at all", role)
		}
	}
}

func TestArchiveDependsOnContentAlone(t *testing.T) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	write := func(mtime time.Time) []byte {
		from := filepath.Join(t.TempDir(), "built")
		if err := errors.Join(os.WriteFile(from, []byte("binary"), 0o600), os.Chtimes(from, mtime, mtime)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := writeArchive(&out, "nearside-edge", []member{{"nearside-edge", from, 0o755}}, at); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	first, second := write(time.Unix(1, 0)), write(time.Unix(2_000_000_000, 0))
	if !bytes.Equal(first, second) {
		t.Error("the same content in other files gives another archive")
	}
	zipped, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(zipped)
	header, err := archive.Next()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(header.Name, " ", header.FileInfo().Mode(), " ", header.Uid, header.Gid, " ", header.ModTime.UTC().Format(time.RFC3339))
	if want := "nearside-edge/nearside-edge -rwxr-xr-x 0 0 2026-11-01T11:00:00Z"; got != want {
		t.Errorf("member %s, expected %s", got, want)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("after the only member: %v", err)
	}
}

func TestRefused(t *testing.T) {
	inUse := t.TempDir()
	if err := os.WriteFile(filepath.Join(inUse, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@invalid"}, args...)...)
		cmd.Dir = source
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, said)
		}
	}
	for name, content := range map[string]string{
		"go.mod": "module nearside\n\ngo 1.26\n", "core/cmd/nearside-core/main.go": "package main\n\nfunc main() {}\n",
	} {
		path := filepath.Join(source, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	if err := os.WriteFile(filepath.Join(source, "core/cmd/nearside-core/more.go"), []byte("package main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		config Config
		want   string
	}{
		{"another processor", Config{Architectures: []string{"vax"}}, `architecture "vax": expected one of amd64, arm64`},
		{"no processor", Config{}, "architectures: expected at least one"},
		{"a folder with other things", Config{Architectures: []string{"amd64"}, Out: inUse}, "is not empty and holds no SHA256SUMS"},
		{"changes in no commit", Config{Architectures: []string{"amd64"}, Source: source, Out: filepath.Join(t.TempDir(), "dist")}, "expected a clean tree"},
	} {
		c.config.Log = io.Discard
		err := Make(t.Context(), c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected %q", c.what, err, c.want)
		}
		if _, err := os.Stat(c.config.Out); c.config.Out != "" && c.config.Out != inUse && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %s was made all the same", c.what, c.config.Out)
		}
	}
	if _, err := os.Stat(filepath.Join(inUse, "thesis.txt")); err != nil {
		t.Error("a folder that was not ours is gone:", err)
	}
}
