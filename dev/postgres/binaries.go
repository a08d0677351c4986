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
	"strconv"

	"nearside/dev/packages"
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
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
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
// out. Where that cannot be done, the error is one line that says what to
// install.
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

// noCluster keeps Debian's package from creating and starting a cluster on
// port 5432, which nothing here needs.
const noCluster = "/etc/postgresql-common/createcluster.d/nearside-dev.conf"

func install(ctx context.Context, out io.Writer, missing error) error {
	fmt.Fprintln(out, missing)
	err := packages.WriteFile(ctx, noCluster, "create_main_cluster = false\n")
	if err == nil {
		err = errors.Join(packages.Install(ctx, out, "postgresql"), packages.RemoveFile(ctx, noCluster))
	}
	if err != nil {
		return fmt.Errorf("%w, and it cannot be installed (%w): install Postgres %d or later by hand (sudo apt-get install postgresql, brew install postgresql) or set NEARSIDE_DATABASE_URL", missing, err, MinMajor)
	}
	return nil
}
