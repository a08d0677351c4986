package journal_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nearside/edge/journal/faultfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What version 1 of the journal left on disk is what version 1 reads.
func TestGolden(t *testing.T) {
	fs := faultfs.New(1)
	j, _ := mustOpen(t, small(fs))
	mustAppend(t, j, "first")
	hash := mustWait(t, j, mustAppend(t, j, "second"))
	if err := j.SaveCheckpoint([]byte("state after two"), 2, hash); err != nil {
		t.Fatal(err)
	}
	mustWait(t, j, mustAppend(t, j, strings.Repeat("third ", 100)))
	mustAppend(t, j, "")
	mustWait(t, j, mustAppend(t, j, "fifth"))
	fs.Kill()
	for _, name := range []string{"identity", "checkpoint", "seg-0000000000000001"} {
		got, _ := fs.Content(dir + "/" + name)
		size := len(got)
		if name != "identity" {
			got = []byte(hex.Dump(bytes.TrimRight(got, "\x00")))
		}
		path := filepath.Join("testdata", "golden", name+".txt")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s changed without its version:\n got %s\nwant %s", name, got, want)
		}
		if name != "identity" {
			want = undump(t, want)
			want = append(want, make([]byte, size-len(want))...)
		}
		fs.SetContent(dir+"/"+name, want)
	}
	j, r := mustOpen(t, small(fs))
	defer mustClose(t, j)
	if string(r.state) != "state after two" || r.at != 2 || r.hashes[2] != hash {
		t.Errorf("checkpoint %q at %d with %x", r.state, r.at, r.hashes[2])
	}
	if r.end != 5 || r.records[3] != strings.Repeat("third ", 100) || r.records[4] != "" || r.records[5] != "fifth" {
		t.Errorf("records %v up to %d", r.records, r.end)
	}
}

func undump(t *testing.T, dump []byte) (b []byte) {
	t.Helper()
	for line := range strings.Lines(string(dump)) {
		line, _, _ = strings.Cut(line[9:], "|")
		part, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(line, " ", ""), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}
