// Command mutate is the mutation gate: it breaks one guard of the shipping code
// at a time and asks whether the simulation notices. A guard whose absence
// nobody notices is not proven by the simulation, whatever its tests say.
//
// A break is a textual patch in breaks/NAME: header lines, the text as it is,
// the text instead.
//
//	guards: what the guard is for, in words
//	invariant: I6
//	file: edge/holder/step.go
//	within: 20
//	<<<<
//	old text, which must occur in the file once
//	====
//	new text
//	>>>>
//
// The patched file takes the place of the real one in one build only (go test
// -overlay): nothing that ships carries a hook. The gate fails where a patch
// does not apply any more, does not compile, or is not caught within as many
// seeds as it says. With -write it puts the table of results into docs/proof.md.
package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed breaks
var breaks embed.FS

// mutant is one break of one guard.
type mutant struct {
	name      string
	guards    string
	invariant string
	file      string // from the module's root
	within    int    // seeds
	old, new  string
}

func main() {
	only := flag.String("only", "", "a regular expression of the breaks to try")
	write := flag.Bool("write", false, "write the results into docs/proof.md")
	flag.Parse()
	if err := run(*only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only string, write bool) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	list, err := load()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	most := 0
	for _, m := range list {
		most = max(most, m.within)
	}
	if r, err := play(root, tmp, nil, most); err != nil || r.seed != 0 {
		return errors.Join(fmt.Errorf("the unbroken code fails: seed %d, %s", r.seed, r.detail), err)
	}
	var rows []string
	var failed error
	own := map[string]bool{}
	for _, m := range list {
		if !match.MatchString(m.name) {
			continue
		}
		r, err := try(root, tmp, &m)
		if err == nil && r.seed == 0 {
			err = fmt.Errorf("not caught within %d seeds", m.within)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
			fmt.Printf("%-28s MISSED  %v\n", m.name, err)
			continue
		}
		fmt.Printf("%-28s caught by seed %d of %d: %s\n", m.name, r.seed, m.within, r.detail)
		own[r.invariant] = own[r.invariant] || r.invariant == m.invariant
		rows = append(rows, fmt.Sprintf("| %s | `%s` | %s | %s | %d | %d |", m.guards, m.file, m.invariant, r.invariant, r.seed, m.within))
	}
	if only == "" {
		failed = errors.Join(failed, named(own))
	}
	if failed != nil || !write {
		return failed
	}
	return table(filepath.Join(root, "docs/proof.md"), rows)
}

// named says which invariants no break was caught as: nothing shows then that
// their own checks can fail.
func named(own map[string]bool) error {
	var missing []string
	for i := range 12 {
		if name := fmt.Sprintf("I%d", i+1); !own[name] {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("no break was seen as %s", strings.Join(missing, ", "))
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// load reads all breaks, by name.
func load() ([]mutant, error) {
	names, err := fs.Glob(breaks, "breaks/*")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var list []mutant
	for _, name := range names {
		b, err := breaks.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m, err := parse(string(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		m.name = filepath.Base(name)
		list = append(list, m)
	}
	return list, nil
}

func parse(s string) (m mutant, err error) {
	head, body, ok1 := strings.Cut(s, "<<<<\n")
	old, rest, ok2 := strings.Cut(body, "====\n")
	text, _, ok3 := strings.Cut(rest, ">>>>\n")
	if !ok1 || !ok2 || !ok3 {
		return m, errors.New("expected <<<<, ==== and >>>>, each on a line")
	}
	m.old, m.new = old, text
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "guards":
			m.guards = value
		case "invariant":
			m.invariant = value
		case "file":
			m.file = value
		case "within":
			if m.within, err = strconv.Atoi(value); err != nil {
				return m, fmt.Errorf("within: %w", err)
			}
		default:
			return m, fmt.Errorf("unknown header %q", line)
		}
	}
	if m.guards == "" || m.invariant == "" || m.file == "" || m.within < 1 || m.old == m.new {
		return m, errors.New("expected guards, invariant, file, within and a change")
	}
	return m, nil
}

// apply is the file with the break in it.
func (m *mutant) apply(root string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(b, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("its text occurs %d times in %s, expected once: bring the break up to date", n, m.file)
	}
	return bytes.Replace(b, []byte(m.old), []byte(m.new), 1), nil
}

func try(root, tmp string, m *mutant) (caught, error) {
	b, err := m.apply(root)
	if err != nil {
		return caught{}, err
	}
	patched := filepath.Join(tmp, m.name+".go")
	if err := os.WriteFile(patched, b, 0o600); err != nil {
		return caught{}, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.file): patched}})
	if err != nil {
		return caught{}, err
	}
	file := filepath.Join(tmp, m.name+".json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return caught{}, err
	}
	return play(root, tmp, []string{"-overlay", file}, m.within)
}

// caught is the first seed that failed, 0 where none did.
type caught struct {
	seed      int
	invariant string
	detail    string
}

var failure = regexp.MustCompile(`seed (\d+): (\w+): (.*)`)

// play builds the simulation's test and runs its first seeds.
func play(root, tmp string, build []string, seeds int) (caught, error) {
	bin := filepath.Join(tmp, "simulation.test")
	cmd := exec.Command("go", slices.Concat([]string{"test", "-c", "-o", bin}, build, []string{"./dev/simulation"})...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return caught{}, fmt.Errorf("it does not compile: %w: %s", err, out)
	}
	cmd = exec.Command(bin, "-test.run", "TestSeeds$", "-test.timeout", "5m", "-seeds", strconv.Itoa(seeds))
	cmd.Dir = filepath.Join(root, "dev/simulation")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return caught{}, nil
	}
	hit := failure.FindStringSubmatch(string(out))
	if hit == nil {
		return caught{}, fmt.Errorf("it ended without naming a seed: %w: %.2000s", err, out)
	}
	seed, err := strconv.Atoi(hit[1])
	return caught{seed, hit[2], hit[3]}, err
}

const (
	begin = "<!-- written by make mutate -->\n"
	end   = "<!-- end -->\n"
)

// table puts rows between the two marks of a page.
func table(page string, rows []string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for the table", page)
	}
	lines := slices.Concat([]string{"| the guard that was broken | file | belongs to | seen as | by seed | allowed |", "|---|---|---|---|---|---|"}, rows)
	return os.WriteFile(page, []byte(before+begin+strings.Join(lines, "\n")+"\n"+end+after), 0o644) //nolint:gosec // a page for all to read
}
