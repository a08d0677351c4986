package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pg "nearside/dev/postgres"
)

// coreCommand runs nearside-core on the world's database.
func coreCommand(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "nearside-core"), append([]string{"--database-url", here.Ready().DatabaseURL}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// agrees wants that nearside-core reconcile finds no difference.
func agrees(t *testing.T) {
	t.Helper()
	if out, err := coreCommand(t.Context(), "reconcile"); err != nil {
		t.Errorf("reconcile: %v: %s", err, out)
	}
}

// Postgres is restored from a backup, while edges have gone on: the core finds
// out, everything stops but serving, and nearside-core recover makes the books
// what the edges have: views counted before and after the backup, by an edge
// that stayed, and by one that drained since and came back as a holder that the
// restored core never heard of.
func TestPostgresIsRestoredFromThePast(t *testing.T) {
	bin, err := pg.Find()
	if err != nil {
		t.Fatal(err)
	}
	as, err := pg.Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	f := newFlight(t, line{views: 1_000_000, cpm: 2_000_000})
	answered := 0
	views := func(edge, n int) {
		t.Helper()
		for _, o := range f.offers(t, edges[edge], n) {
			if err := seen(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			answered++
		}
	}
	total := func(n int) string { return fmt.Sprintf("views %d+0 clicks 0+0 micros %d", n, n*2000) }
	for i := range edges {
		views(i, 20)
	}
	f.wantTotals(t, 20*time.Second, total(answered))

	data, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(programs), "world", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	backup := data + ".backup"
	if err := as.MakeDir(backup); err != nil {
		t.Fatal(err)
	}
	if out, err := pg.BaseBackup(bin, as, here.Ready().DatabaseURL, backup).CombinedOutput(); err != nil {
		t.Fatalf("back up: %v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(backup, "standby.signal")); err != nil { // it is to be a server of its own
		t.Fatal(err)
	}

	views(0, 70)
	views(1, 30)
	here.Edges[2].Stop(sigterm, 30*time.Second) // drains: its holder is closed
	if code := here.Edges[2].ExitCode(); code != 0 {
		t.Fatalf("a drain ended with %d", code)
	}
	restart(t, 2)
	views(2, 40)
	f.wantTotals(t, 20*time.Second, total(answered))

	here.Core.Kill()
	here.Postgres.Stop(syscall.SIGINT, 30*time.Second)
	if err := os.Rename(data, data+".lost"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data + ".lost") })
	if err := here.Postgres.Start(); err != nil {
		t.Fatal(err)
	}
	ready, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pg.WaitReady(ready, here.Ready().DatabaseURL, ""); err != nil {
		t.Fatal(err)
	}
	startCore(t)

	var shown string
	eventually(t, 60*time.Second, "every edge has stated its account", func() bool {
		shown, err = coreCommand(t.Context(), "recover")
		return err == nil && strings.Contains(shown, "nothing was changed")
	})
	t.Log("\n" + shown)
	if strings.Count(shown, " stated ") != 2 || strings.Count(shown, "made anew") != 1 || strings.Count(shown, "replaced") != 1 {
		t.Error("expected two edges that stated their accounts, one that is made anew, and its holder before that as replaced")
	}
	for i := range edges { // readers do not notice
		o := f.offer(t, edges[i])
		if err := seen(t.Context(), o); err != nil {
			t.Error(err)
		}
		answered++
	}
	if out, err := coreCommand(t.Context(), "recover", "--apply"); err != nil || !strings.Contains(out, "applied") {
		t.Fatalf("recover --apply: %v\n%s", err, out)
	}
	agrees(t)
	f.wantTotals(t, 30*time.Second, total(answered))
	for i := range edges {
		views(i, 25)
	}
	f.wantTotals(t, 20*time.Second, total(answered))
	agrees(t)
	if out, err := coreCommand(t.Context(), "recover"); err != nil || !strings.Contains(out, "nothing to recover") {
		t.Errorf("afterwards: %v: %s", err, out)
	}
}
