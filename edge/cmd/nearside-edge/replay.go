package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"nearside/edge/decision"
	"nearside/sync/catalog"
)

// errDiffers is a record that came out otherwise.
var errDiffers = errors.New("a decision came out otherwise than it was recorded")

// replay is the command that makes recorded decisions again.
func replay(_ context.Context, args []string, stdout io.Writer) error {
	var s struct {
		Record  string `arg:"" help:"File with records, JSON objects one after another, as GET /records on the operations port gives them, or an explanation; - for the standard input."`
		Catalog string `help:"File with the catalog version that the records name, as GET /v1/catalog/versions/{version}/bytes of the core gives it, or an edge's catalog.bin." required:"" type:"existingfile"`
		JSON    bool   `help:"Write one JSON object to a line instead of text." name:"json"`
	}
	exited := false
	parser, err := kong.New(&s, kong.Name("nearside-edge replay"),
		kong.Description("Makes recorded decisions again, and says whether they come out as they did. Exit status: 0 all the same, 1 one differs or cannot be replayed, 2 wrong arguments."),
		kong.Writers(stdout, stdout), kong.Exit(func(int) { exited = true }))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); exited || err != nil {
		if err != nil {
			return configError{err}
		}
		return nil
	}
	published, err := os.ReadFile(s.Catalog)
	if err != nil {
		return fmt.Errorf("--catalog: %w", err)
	}
	snapshot, err := catalog.Decode(published)
	if err != nil {
		return fmt.Errorf("--catalog: %s: %w", s.Catalog, err)
	}
	in := os.Stdin
	if s.Record != "-" {
		if in, err = os.Open(s.Record); err != nil {
			return err
		}
		defer in.Close()
	}
	return replayAll(in, snapshot, s.JSON, stdout)
}

// replayAll replays each record of in that is of the snapshot's version. Those of
// others it counts: an edge's records go on over a change of the catalog.
func replayAll(in io.Reader, snapshot *catalog.Snapshot, asJSON bool, stdout io.Writer) error {
	values := json.NewDecoder(in)
	n, differing := 0, 0
	others := map[uint64]int{}
	for {
		var value json.RawMessage
		err := values.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		n++
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		record, err := explained(value)
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		rec, err := decision.ReadRecord(record)
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		if rec.Catalog != snapshot.Version {
			others[rec.Catalog]++
			continue
		}
		replayed, err := decision.Replay(rec, snapshot)
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		if !replayed.Same {
			differing++
		}
		if asJSON {
			err = json.NewEncoder(stdout).Encode(struct {
				Record *decision.Record `json:"recorded"`
				*decision.Replayed
			}{rec, replayed})
		} else {
			err = tell(stdout, rec, replayed)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case n == 0:
		return errors.New("no record in it")
	case differing > 0:
		return errors.Join(errDiffers, ofOthers(others, snapshot.Version))
	}
	return ofOthers(others, snapshot.Version)
}

// ofOthers says which records are of other catalogs than the one given.
func ofOthers(others map[uint64]int, given uint64) error {
	if len(others) == 0 {
		return nil
	}
	var of []string
	for _, version := range slices.Sorted(maps.Keys(others)) {
		of = append(of, fmt.Sprintf("%d of version %d", others[version], version))
	}
	return fmt.Errorf("records of other catalogs than version %d were left out (%s): replay them with those, GET /v1/catalog/versions/{version}/bytes of the core", given, strings.Join(of, ", "))
}

// explained is the record in an explanation, or the value itself.
func explained(value []byte) ([]byte, error) {
	var e struct {
		Record  json.RawMessage `json:"record"`
		Flights json.RawMessage `json:"flights"`
	}
	read := json.Unmarshal(value, &e) == nil // else it is told what is wrong with it as a record
	switch {
	case read && len(e.Record) > 0 && e.Record[0] == '{':
		return e.Record, nil
	case read && len(e.Flights) > 0:
		return nil, errors.New("an explanation without a record: only one that is asked for with an operator's token has it")
	}
	return value, nil
}

// tell writes a replayed record for people.
func tell(stdout io.Writer, rec *decision.Record, replayed *decision.Replayed) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s  publisher %s, catalog %d\n", time.UnixMilli(rec.At).UTC().Format("2006-01-02 15:04:05.000"), rec.Request.Publisher, rec.Catalog)
	fmt.Fprintf(w, "recorded: %s\n", describe(&rec.Outcome))
	if replayed.Same {
		fmt.Fprintln(w, "replayed: the same")
	} else {
		fmt.Fprintf(w, "replayed: %s\n", describe(&replayed.Outcome))
	}
	if rec.Torn {
		fmt.Fprintln(w, "accounts moved while it was decided, so a difference may be theirs")
	}
	fmt.Fprintln(w, "flight\ttype\treason\tweight\tprobability\twanted\tfound")
	for _, f := range replayed.Explanation.Flights {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.1f %%\t%s\t%s\n", f.Flight, f.CampaignType, f.Reason, f.Weight, 100*f.Probability, f.Wanted, f.Found)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

func describe(m *decision.Made) string {
	switch {
	case !m.Filled:
		return "no ad (" + m.Reason + ")"
	case m.Forced:
		return fmt.Sprintf("ad %s of flight %s, forced", m.Ad, m.Flight)
	}
	return fmt.Sprintf("ad %s of flight %s, drawn with weight %d of %d", m.Ad, m.Flight, m.Weight, m.Total)
}

// mostRecords is how many records one answer of the operations port holds.
const mostRecords = 1000

// records answers GET /records on the operations port: decision records, the
// newest first, one to a line; ?publisher=SLUG, ?flight=SLUG (that was offered)
// and ?limit choose among them.
func (e *edge) records(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit := 100
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostRecords {
			http.Error(w, fmt.Sprintf("limit: expected a number from 1 to %d", mostRecords), http.StatusBadRequest)
			return
		}
		limit = n
	}
	for name := range query {
		if !slices.Contains([]string{"limit", "publisher", "flight"}, name) {
			http.Error(w, "expected only limit, publisher and flight in the query", http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	to := json.NewEncoder(w)
	for rec := range e.server.Records() {
		if p := query.Get("publisher"); p != "" && p != rec.Request.Publisher {
			continue
		}
		if f := query.Get("flight"); f != "" && f != rec.Outcome.Flight {
			continue
		}
		if limit--; limit < 0 || to.Encode(rec) != nil {
			return
		}
	}
}
