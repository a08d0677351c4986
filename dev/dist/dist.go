// Package dist makes what operators deploy, from a clean tree, in one folder:
//
//	nearside-edge_VERSION_linux_ARCH.tar.gz   one executable, LICENSE, NOTICE: the `artifact` of terraform/CONTRACT.md
//	nearside-edge_VERSION_ARCH.deb            the same executable with a hardened unit and /etc/nearside/edge.env
//	nearside-edge_VERSION_linux_ARCH.cdx.json its bill of materials, CycloneDX
//	Containerfile.edge, state/                a recipe of an image that holds the executable and nothing else
//	SHA256SUMS                                of every file, as sha256sum -c reads it
//
// and the same for nearside-core, for each architecture asked for.
//
// The same commit and the same Go release give the same bytes: no path, no
// time and no user of the machine that built them is in them, and the time of
// every file is the commit's. The version is the one that Go stamps from git (a
// tag, or a pseudo-version after the newest one), so that a file's name and the
// binary's --version agree.
//
// A tree with changes is refused, because no commit says what its files
// would be; so is one without git. The folder is replaced as a whole, only when everything
// in it is complete. Nothing is signed: whoever publishes the files signs
// SHA256SUMS.
package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Architectures are those that can be asked for, in Go's names, which are
// Debian's too.
var Architectures = []string{"amd64", "arm64"}

// Roles are the binaries that ship: nearside-ROLE.
var Roles = []string{"core", "edge"}

// files are the recipes, and what the packages hold beside the binaries.
//
//go:embed files
var files embed.FS

// Config says what to make, and with what.
type Config struct {
	Source        string   // the module's root
	Out           string   // the folder to make; replaced where it exists
	Architectures []string // of Architectures
	NFPM          string   // path of nfpm, which writes packages
	CycloneDX     string   // path of cyclonedx-gomod, which writes bills of materials
	Log           io.Writer
}

// Make makes the folder.
func Make(ctx context.Context, c Config) error {
	for _, arch := range c.Architectures {
		if !slices.Contains(Architectures, arch) {
			return fmt.Errorf("architecture %q: expected one of %s", arch, strings.Join(Architectures, ", "))
		}
	}
	if len(c.Architectures) == 0 {
		return errors.New("architectures: expected at least one")
	}
	if err := c.replaceable(); err != nil {
		return err
	}
	// Elsewhere, since a new folder in the source would be a change of it.
	work, err := os.MkdirTemp("", "nearside-dist-")
	if err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	for _, arch := range c.Architectures {
		for _, role := range Roles {
			if err := c.release(ctx, work, out, role, arch); err != nil {
				return fmt.Errorf("nearside-%s for %s: %w", role, arch, err)
			}
		}
	}
	for _, role := range Roles {
		recipe, err := files.ReadFile("files/Containerfile." + role)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, "Containerfile."+role), recipe, 0o644); err != nil {
			return err
		}
	}
	// What the edge's image has as its volume's first content, for the owner's sake.
	if err := os.Mkdir(filepath.Join(out, "state"), 0o700); err != nil {
		return err
	}
	if err := sums(out); err != nil {
		return err
	}
	return c.replace(out)
}

// replace puts the complete folder made where Out is.
func (c *Config) replace(made string) error {
	if err := os.MkdirAll(filepath.Dir(c.Out), 0o755); err != nil {
		return err
	}
	beside, err := os.MkdirTemp(filepath.Dir(c.Out), ".dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(beside)
	whole := filepath.Join(beside, "dist")
	if err := os.CopyFS(whole, os.DirFS(made)); err != nil {
		return err
	}
	if err := os.RemoveAll(c.Out); err != nil {
		return err
	}
	return os.Rename(whole, c.Out)
}

// replaceable refuses an Out that holds something else than an earlier run's
// files: it is about to be removed.
func (c *Config) replaceable() error {
	entries, err := os.ReadDir(c.Out)
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("--out: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.Out, sumsName)); err != nil {
		return fmt.Errorf("--out: %s is not empty and holds no %s: expected a new folder, or one made by this command", c.Out, sumsName)
	}
	return nil
}

// release makes one binary's files in out.
func (c *Config) release(ctx context.Context, work, out, role, arch string) error {
	stage := filepath.Join(work, role+"-"+arch)
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	name := "nearside-" + role
	binary := filepath.Join(stage, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid=", "-o", binary, "./"+role+"/cmd/"+name)
	build.Dir = c.Source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOAMD64=", "GOARM64=")
	if err := c.run(build); err != nil {
		return err
	}
	version, at, err := stamp(binary)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Log, "%s %s for linux/%s\n", name, version, arch)

	base := fmt.Sprintf("%s_%s_linux_%s", name, strings.TrimPrefix(version, "v"), arch)
	bill := filepath.Join(stage, "sbom.cdx.json")
	sbom := exec.CommandContext(ctx, c.CycloneDX, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", version, "-output", bill, binary)
	sbom.Dir = c.Source
	if err := c.run(sbom); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(out, base+".cdx.json"), bill); err != nil {
		return err
	}

	members := []member{
		{name, binary, 0o755},
		{"LICENSE", filepath.Join(c.Source, "LICENSE"), 0o644},
		{"NOTICE", filepath.Join(c.Source, "NOTICE"), 0o644},
	}
	archive, err := os.Create(filepath.Join(out, base+".tar.gz"))
	if err != nil {
		return err
	}
	if err := errors.Join(writeArchive(archive, name, members, at), archive.Close()); err != nil {
		return fmt.Errorf("write %s: %w", archive.Name(), err)
	}
	return c.debian(ctx, stage, out, role, arch, version, at)
}

// debian has nfpm write the package: the recipe's ${NAMES} are filled in here
// because nfpm fills them in some fields only.
func (c *Config) debian(ctx context.Context, stage, out, role, arch, version string, at time.Time) error {
	if err := os.CopyFS(filepath.Join(stage, "src"), files); err != nil {
		return err
	}
	values := map[string]string{"ROLE": role, "ARCH": arch, "VERSION": version, "STAGE": stage, "SOURCE": c.Source, "TIME": at.UTC().Format(time.RFC3339)}
	recipe, err := files.ReadFile("files/nfpm.yaml")
	if err != nil {
		return err
	}
	filled := os.Expand(string(recipe), func(key string) string { return values[key] })
	path := filepath.Join(stage, "nfpm.yaml")
	if err := os.WriteFile(path, []byte(filled), 0o644); err != nil {
		return err
	}
	pack := exec.CommandContext(ctx, c.NFPM, "package", "--packager", "deb", "--config", path,
		"--target", filepath.Join(out, fmt.Sprintf("nearside-%s_%s_%s.deb", role, strings.TrimPrefix(version, "v"), arch)))
	pack.Dir = c.Source
	pack.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+fmt.Sprint(at.Unix()))
	return c.run(pack)
}

// run runs a tool; what it says is in the error, and nowhere else.
func (c *Config) run(cmd *exec.Cmd) error {
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, bytes.TrimSpace(said))
	}
	return nil
}

// stamp is the version that Go wrote into a binary, and the time of its commit.
func stamp(binary string) (version string, at time.Time, err error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", time.Time{}, err
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	switch {
	case settings["vcs.revision"] == "":
		return "", time.Time{}, errors.New("the source is in no git repository: expected a commit, which names the version")
	case settings["vcs.modified"] != "false":
		return "", time.Time{}, errors.New("the source has changes that are in no commit: expected a clean tree (see git status)")
	}
	at, err = time.Parse(time.RFC3339, settings["vcs.time"])
	if err != nil {
		return "", time.Time{}, fmt.Errorf("the commit's time: %w", err)
	}
	return info.Main.Version, at, nil
}

// member is a file of an archive.
type member struct {
	name, from string
	mode       int64
}

// writeArchive writes a gzipped tar with the members under one folder; the
// bytes depend on nothing but its arguments and the files' content.
func writeArchive(w io.Writer, folder string, members []member, at time.Time) error {
	zipped, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zipped)
	for _, m := range members {
		content, err := os.ReadFile(m.from)
		if err != nil {
			return err
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: folder + "/" + m.name, Size: int64(len(content)), Mode: m.mode,
			ModTime: at.UTC(), Uname: "root", Gname: "root", Format: tar.FormatPAX,
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zipped.Close())
}

const sumsName = "SHA256SUMS"

// sums writes SHA256SUMS over every file of the folder, in the order of names.
func sums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(content), entry.Name())
	}
	return os.WriteFile(filepath.Join(folder, sumsName), []byte(text.String()), 0o644)
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
