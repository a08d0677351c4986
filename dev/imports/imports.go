// Package imports holds the house's import rules, as docs/architecture.md
// states them, in a form that a test can check: who may import whom, what a
// binary may link, and which packages are pure.
//
// It reads what `go list` says of a module, and the source of the packages
// that must be pure. Its test runs every rule twice: over this module, which
// must keep it, and over a small module in testdata that breaks each of them.
//
// golangci-lint checks part of the same rules (depguard, in .golangci.yml), so
// that an editor shows them; the rules here are the ones that count, since
// depguard can see neither what a binary links nor what a package calls.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Package is what the rules need to know of one package of the module.
type Package struct {
	ImportPath   string
	Dir          string
	Name         string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string // everything it links, itself not included
}

// Load asks go list about the module in dir.
func Load(dir string) ([]Package, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w: %s", dir, err, stderr.Bytes())
	}
	var packages []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list's answer: %w", err)
		}
		packages = append(packages, p)
	}
}

const module = "nearside"

// room reports whether path is the module's package or tree of that name.
func room(path, name string) bool {
	return within(path, module+"/"+name)
}

func within(path, tree string) bool {
	return path == tree || strings.HasPrefix(path, tree+"/")
}

func ships(path string) bool {
	return !room(path, "dev")
}

const (
	fasthttp   = "github.com/valyala/fasthttp"
	memberlist = "github.com/hashicorp/memberlist"
	pgx        = "github.com/jackc/pgx"
	prometheus = "github.com/prometheus/client_golang"
)

// A Rule says in one sentence what holds, and finds what breaks it.
type Rule struct {
	Name   string
	Breaks func([]Package) ([]string, error)
}

// Rules are the house's.
var Rules = []Rule{
	{"edge never imports core", never("edge", "core")},
	{"core never imports edge", never("core", "edge")},
	{"sync never imports edge", never("sync", "edge")},
	{"sync never imports core", never("sync", "core")},
	{"sync holds only subpackages", func(packages []Package) (broken []string, err error) {
		for _, p := range packages {
			if p.ImportPath == module+"/sync" {
				broken = append(broken, "nearside/sync has Go files of its own")
			}
		}
		return broken, nil
	}},
	{"sync/catalog and sync/lease never import sync/wire", func(packages []Package) ([]string, error) {
		a, err := never("sync/catalog", "sync/wire")(packages)
		if err != nil {
			return nil, err
		}
		b, err := never("sync/lease", "sync/wire")(packages)
		return append(a, b...), err
	}},
	{"nothing that ships imports dev", func(packages []Package) (broken []string, err error) {
		for _, p := range packages {
			for _, imported := range p.Imports {
				if ships(p.ImportPath) && !ships(imported) && within(imported, module) {
					broken = append(broken, p.ImportPath+" imports "+imported)
				}
			}
		}
		return broken, nil
	}},
	{"of what ships, only edge/serve imports fasthttp", only(fasthttp, "edge/serve")},
	{"of what ships, only edge/ops and core/ops import Prometheus", only(prometheus, "edge/ops", "core/ops")},
	{"of what ships, only sync/gossip imports memberlist", only(memberlist, "sync/gossip")},
	{"the edge links no pgx", links("edge/cmd/nearside-edge", pgx)},
	{"the edge links nothing of core", links("edge/cmd/nearside-edge", module+"/core")},
	{"the core links no memberlist", links("core/cmd/nearside-core", memberlist)},
	{"the core links no fasthttp", links("core/cmd/nearside-core", fasthttp)},
	{"the core links nothing of edge", links("core/cmd/nearside-core", module+"/edge")},
	{"pure packages import no network, file system or metrics", impureImports},
	{"pure packages look at no clock", clocks},
}

// never says that no package under from imports one under to, its tests included.
func never(from, to string) func([]Package) ([]string, error) {
	return func(packages []Package) (broken []string, err error) {
		for _, p := range packages {
			for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				if room(p.ImportPath, from) && room(imported, to) {
					broken = append(broken, p.ImportPath+" imports "+imported)
				}
			}
		}
		return broken, nil
	}
}

// only says which packages that ship may import a library.
func only(library string, rooms ...string) func([]Package) ([]string, error) {
	return func(packages []Package) (broken []string, err error) {
		for _, p := range packages {
			may := slices.ContainsFunc(rooms, func(name string) bool { return room(p.ImportPath, name) })
			for _, imported := range p.Imports {
				if within(imported, library) && ships(p.ImportPath) && !may {
					broken = append(broken, p.ImportPath+" imports "+imported)
				}
			}
		}
		return broken, nil
	}
}

// links says that a binary contains nothing of a tree.
func links(binary, tree string) func([]Package) ([]string, error) {
	return func(packages []Package) (broken []string, err error) {
		i := slices.IndexFunc(packages, func(p Package) bool { return p.ImportPath == module+"/"+binary })
		if i < 0 {
			return nil, fmt.Errorf("there is no package %s to check", binary)
		}
		for _, dep := range packages[i].Deps {
			if within(dep, tree) {
				broken = append(broken, packages[i].ImportPath+" links "+dep)
			}
		}
		return broken, nil
	}
}

// Pure are the packages that are given everything they work on, the time
// included.
var Pure = []string{"sync/catalog", "sync/lease", "sync/pacing", "edge/decision", "edge/holder", "core/ledger"}

func pure(packages []Package) ([]Package, error) {
	var found []Package
	for _, name := range Pure {
		i := slices.IndexFunc(packages, func(p Package) bool { return p.ImportPath == module+"/"+name })
		if i < 0 {
			return nil, fmt.Errorf("there is no package %s to check", name)
		}
		found = append(found, packages[i])
	}
	return found, nil
}

// impure are the trees that reach the network, the file system, the process's
// surroundings or Prometheus. Package net/netip is arithmetic on addresses,
// net/url on text.
var impure = []string{
	"net", "os", "io/fs", "io/ioutil", "path/filepath", "embed", "syscall", "log", "expvar", "plugin", "database/sql",
	"golang.org/x/sys", "golang.org/x/net", "connectrpc.com/connect", "github.com/prometheus", fasthttp, memberlist, pgx,
}

var harmless = []string{"net/netip", "net/url"}

func impureImports(packages []Package) (broken []string, err error) {
	found, err := pure(packages)
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		for _, imported := range p.Imports {
			if slices.Contains(harmless, imported) {
				continue
			}
			if slices.ContainsFunc(impure, func(tree string) bool { return within(imported, tree) }) {
				broken = append(broken, p.ImportPath+" imports "+imported)
			}
		}
	}
	return broken, nil
}

// clock are the functions of package time that read or wait for the real time.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep"}

func clocks(packages []Package) (broken []string, err error) {
	found, err := pure(packages)
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		for _, file := range p.GoFiles {
			calls, err := clockUses(filepath.Join(p.Dir, file))
			if err != nil {
				return nil, err
			}
			for _, call := range calls {
				broken = append(broken, p.ImportPath+" uses "+call+" in "+file)
			}
		}
	}
	return broken, nil
}

// clockUses finds the uses of the clock in one file, under whatever name it
// imports package time.
func clockUses(file string) (uses []string, err error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	name := ""
	for _, spec := range parsed.Imports {
		if path, _ := strconv.Unquote(spec.Path.Value); path != "time" {
			continue
		}
		name = "time"
		if spec.Name != nil {
			name = spec.Name.Name
		}
	}
	switch name {
	case "":
		return nil, nil
	case ".":
		return []string{"a dot import of time"}, nil
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && slices.Contains(clock, sel.Sel.Name) {
				uses = append(uses, "time."+sel.Sel.Name)
			}
		}
		return true
	})
	return uses, nil
}
