package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
)

// MinMajor is the oldest Postgres that the schema and the queries are written for.
const MinMajor = 14

// ErrNotFound says that no installation was found on this machine.
var ErrNotFound = errors.New("no Postgres found")

// Binaries is an installation: a directory that holds initdb and postgres.
type Binaries struct {
	Dir   string
	Major int
}

// Find looks where Debian, Homebrew, Postgres.app, the Red Hat family and PATH
// keep Postgres, and takes the newest that is at least MinMajor.
func Find() (Binaries, error) {
	return find([]string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	})
}

func find(globs []string) (Binaries, error) {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, glob := range globs {
		found, err := filepath.Glob(glob)
		if err != nil {
			return Binaries{}, err
		}
		dirs = append(dirs, found...)
	}
	best, tooOld := Binaries{}, Binaries{}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		major, err := majorOf(filepath.Join(dir, "postgres"))
		switch {
		case err != nil:
		case major < MinMajor:
			tooOld = Binaries{Dir: dir, Major: major}
		case major > best.Major:
			best = Binaries{Dir: dir, Major: major}
		}
	}
	if best.Dir == "" && tooOld.Dir != "" {
		return Binaries{}, fmt.Errorf("%w: %s holds version %d, and %d or later is needed", ErrNotFound, tooOld.Dir, tooOld.Major, MinMajor)
	}
	if best.Dir == "" {
		return Binaries{}, ErrNotFound
	}
	return best, nil
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(binary string) (int, error) {
	out, err := exec.Command(binary, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", binary, err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s --version said %q", binary, out)
	}
	return strconv.Atoi(string(m[1]))
}

// FindOrInstall finds Postgres, or installs it through apt and says so on
// out. A plain user needs sudo for that; where it cannot be had, the error is
// one line that says what to install.
func FindOrInstall(ctx context.Context, out io.Writer) (Binaries, error) {
	found, err := Find()
	if err == nil || !errors.Is(err, ErrNotFound) {
		return found, err
	}
	if err := install(ctx, out, err); err != nil {
		return Binaries{}, err
	}
	return Find()
}

func install(ctx context.Context, out io.Writer, missing error) error {
	advice := fmt.Errorf("%w: install version %d or later (Debian, Ubuntu: sudo apt-get install postgresql; macOS: brew install postgresql), or set NEARSIDE_DATABASE_URL", missing, MinMajor)
	if _, err := exec.LookPath("apt-get"); err != nil || runtime.GOOS != "linux" {
		return advice
	}
	var prefix []string
	if os.Geteuid() != 0 {
		prefix = []string{"sudo", "-n"}
		if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			prefix = []string{"sudo"} // it may ask for a password
		}
		if err := exec.CommandContext(ctx, prefix[0], append(prefix[1:], "true")...).Run(); err != nil {
			return advice
		}
	}
	fmt.Fprintln(out, "no Postgres found: installing Debian's package postgresql with apt-get")
	// Debian's package would also create and start a cluster on port 5432,
	// which nothing here needs.
	for _, step := range [][]string{
		{"mkdir", "-p", "/etc/postgresql-common/createcluster.d"},
		{"sh", "-c", "echo 'create_main_cluster = false' >" + noCluster},
		{"apt-get", "update"},
		{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", "postgresql"},
		{"rm", "-f", noCluster},
	} {
		args := slices.Concat(prefix, step)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w; %w", step[0], err, advice)
		}
	}
	return nil
}

const noCluster = "/etc/postgresql-common/createcluster.d/nearside-dev.conf"
