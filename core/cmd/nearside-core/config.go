package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"nearside/core/postgres"
	"nearside/core/retention"
)

// settings are all that can be configured: by flag, by environment variable,
// or in the YAML file under the flag's name, in this order of precedence.
type settings struct {
	Config      kong.ConfigFlag  `help:"YAML file with the same keys as the flags." env:"NEARSIDE_CONFIG" placeholder:"FILE"`
	DatabaseURL string           `help:"Where the truth is: postgres://user:password@host:port/name or a libpq connection string." env:"NEARSIDE_DATABASE_URL" placeholder:"URL"`
	TLSDir      string           `help:"Directory of ca.pem and ca.key (the authority that signs for edges: nearside-core ca init), core.pem and core.key (what the sync port shows, where ca.key is not there), admin.pem and admin.key. Without ca.pem the sync port, without admin.pem the admin port, speaks plain HTTP." name:"tls-dir" env:"NEARSIDE_TLS_DIR" placeholder:"DIR"`
	KeepReports time.Duration    `help:"How long what reports are made of is kept; 0: for ever. Months are dropped whole." env:"NEARSIDE_KEEP_REPORTS" default:"0s" placeholder:"DURATION"`
	LogLevel    string           `help:"Least level that is logged: ${enum}." env:"NEARSIDE_LOG_LEVEL" enum:"debug,info,warn,error" default:"info"`
	LogFormat   string           `help:"How it is logged, to stderr: ${enum}." env:"NEARSIDE_LOG_FORMAT" enum:"text,json" default:"text"`
	Check       bool             `help:"Check the configuration, print what is in force, and exit."`
	Version     kong.VersionFlag `help:"Print the version and exit."`

	Serve     serveCommand     `cmd:"" help:"Serve the admin API, the exchange and the operations port."`
	Migrate   migrateCommand   `cmd:"" help:"Bring the database's schema to what this program knows."`
	Token     tokenCommand     `cmd:"" help:"Tokens for the admin API and for publishers."`
	JoinToken joinTokenCommand `cmd:"" help:"Tokens with which new edges join."`
	TokenKey  tokenKeyCommand  `cmd:"" help:"Keys that seal and open the tokens in beacons."`
	CA        caCommand        `cmd:"" name:"ca" help:"The authority whose certificates cores and edges show each other."`
	Import    importCommand    `cmd:"" help:"Create or change everything that a catalog document holds, or nothing."`
	Jobs      jobsCommand      `cmd:"" help:"What the core does now and then: when it was last done, and doing it now."`
	Recover   recoverCommand   `cmd:"" help:"After a restore of the database from the past: rebuild the leases from what the edges state. Shows what it would do, unless told to apply it."`
	Reconcile reconcileCommand `cmd:"" help:"Prove that budgets agree with leases and totals with rollups, or name every difference."`
}

// Validate is called by kong once everything is read.
func (s *settings) Validate() error {
	if s.KeepReports != 0 && s.KeepReports < retention.Least {
		return fmt.Errorf("--keep-reports: expected 0, or at least %s", retention.Least)
	}
	if s.DatabaseURL == "" {
		return nil // see run: one command needs none
	}
	if err := postgres.CheckURL(s.DatabaseURL); err != nil {
		return fmt.Errorf("--database-url: %w", err)
	}
	return nil
}

func (s *settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // one of the enum
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// print says what is in force, without secrets.
func (s *settings) print(w io.Writer, parsed *kong.Context) error {
	for _, flag := range parsed.Flags() {
		if slices.Contains([]string{"help", "check", "version"}, flag.Name) {
			continue
		}
		value := parsed.FlagValue(flag)
		if flag.Name == "database-url" {
			value = postgres.Redacted(s.DatabaseURL)
		}
		if _, err := fmt.Fprintf(w, "%s: %v\n", flag.Name, value); err != nil {
			return err
		}
	}
	return nil
}

// yamlFile reads the configuration file: a flat map of flags' names.
func yamlFile(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("--config: not a YAML map of flags' names: %s", firstLine(err.Error()))
	}
	return &fileResolver{values}, nil
}

type fileResolver struct{ values map[string]any }

// Validate refuses keys that are no flags.
func (f *fileResolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for key := range f.values {
		if !known[key] || key == "config" {
			return fmt.Errorf("--config: %q is not a key; expected a flag's name", key)
		}
	}
	return nil
}

// Resolve gives the file's value of a flag that neither the command line nor
// the environment sets.
func (f *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	return f.values[flag.Name], nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// address is a host:port to listen on.
func address(key, text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%s: expected host:port, not %q", key, text)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s: expected a port from 0 to 65535, not %q", key, port)
	}
	return nil
}

// beside is address with its port raised by n; a port of 0 stays.
func beside(text string, n int) string {
	host, port, _ := net.SplitHostPort(text)
	if number, _ := strconv.Atoi(port); number != 0 {
		port = strconv.Itoa(number + n)
	}
	return net.JoinHostPort(host, port)
}

// versionText is the program's version as the build has it.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, revision, dirty := info.Main.Version, "", ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			revision = setting.Value[:min(len(setting.Value), 12)]
		case "vcs.modified":
			if setting.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return strings.Join(strings.Fields(version+" "+revision+dirty+" "+info.GoVersion), " ")
}
