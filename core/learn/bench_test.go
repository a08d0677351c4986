package learn_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/admin"
	"nearside/core/learn"
	"nearside/core/postgres"
	"nearside/core/retention"
	"nearside/core/series"
	"nearside/dev/testpg"
)

var benchRows = flag.Int("rows", 200_000, "rollups that BenchmarkNights works on; as many decision counts")

// BenchmarkNights is what the jobs take over a year of 1000 flights at 200
// publishers in 50 countries. Plans are beside the queries in core/postgres.
//
//	go test ./core/learn -run '^$' -bench Nights -benchtime 1x -rows 10000000
func BenchmarkNights(b *testing.B) {
	url := testpg.New(b)
	db, err := postgres.Open(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	api := admin.New(db, admin.Options{Version: "test", Log: quiet})
	if _, err := api.Import(b.Context(), "test", []byte(document)); err != nil {
		b.Fatal(admin.Explain(err))
	}
	now := clock("2026-12-31 03:30")
	for month := range 12 {
		if _, err := retention.Run(b.Context(), db, 0, time.Date(2026, time.Month(month+1), 1, 0, 0, 0, 0, time.UTC)); err != nil {
			b.Fatal(err)
		}
	}
	err = db.InTx(b.Context(), func(tx pgx.Tx) error {
		for _, statement := range []string{
			`INSERT INTO publishers (slug, name, settings) SELECT 'p' || n, 'P', '{"allow_paid_campaigns": true}' FROM generate_series(1, 200) AS n`,
			`INSERT INTO flights (slug, name, campaign, live, start_date, end_date, cpm_micros, sold_views, pacing, traffic_cap)
			 SELECT 'f' || n, 'F', 1, true, '2026-01-01', '2027-01-31', 1000, 1000000, CASE WHEN n % 10 = 0 THEN 'traffic' ELSE 'even' END,
				CASE WHEN n % 10 = 0 THEN '{"countries": {"AA": 0.5}}' ELSE '{}' END::jsonb FROM generate_series(1, 1000) AS n`,
			`INSERT INTO ads (slug, name, flight, link) SELECT 'a' || id || '-' || n, 'A', id, 'https://example.com/' FROM flights, generate_series(1, 2) AS n`,
		} {
			if _, err := tx.Exec(b.Context(), statement); err != nil {
				return err
			}
		}
		for _, statement := range []string{
			`INSERT INTO rollups (hour, region, flight, ad, publisher, country, views, clicks, spent_micros)
			 SELECT timestamptz '2026-01-01Z' + interval '1 hour' * (n::bigint * 8759 / $1), 'eu', 7 + hash % 1000, 5 + hash % 2000, 4 + hash / 7 % 200,
				chr(65 + hash / 3 % 10) || chr(65 + hash / 31 % 5), 1 + hash % 50, hash % 97 / 96, 100
			 FROM (SELECT n, (n::bigint * 2654435761 % 2147483647)::integer AS hash FROM generate_series(1, $1::integer) AS n) AS r ON CONFLICT DO NOTHING`,
			`INSERT INTO decision_counts (hour, region, publisher, country, flight, decisions, offers)
			 SELECT timestamptz '2026-01-01Z' + interval '1 hour' * (n::bigint * 8759 / $1), 'eu', 4 + hash / 7 % 200,
				chr(65 + hash / 3 % 10) || chr(65 + hash / 31 % 5), 7 + hash % 1000, 10 + hash % 50, hash % 10
			 FROM (SELECT n, (n::bigint * 2654435761 % 2147483647)::integer AS hash FROM generate_series(1, $1::integer) AS n) AS r ON CONFLICT DO NOTHING`,
		} {
			if _, err := tx.Exec(b.Context(), statement, *benchRows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(b.Context(), url)
	if err == nil {
		// Rows that nobody has read since they were written would be written anew.
		_, err = conn.Exec(b.Context(), "VACUUM (ANALYZE)")
		err = errors.Join(err, conn.Close(b.Context()))
	}
	if err != nil {
		b.Fatal(err)
	}
	l := learn.New(db, nil)
	minute := 0
	for _, job := range []struct {
		name string
		run  func(context.Context, time.Time) (string, error)
	}{
		{"sampled-ctr", l.CTRs}, {"traffic-fill", l.Fill}, {"demand", l.Demand},
		{"flight-series", func(ctx context.Context, now time.Time) (string, error) {
			minute++
			_, err := series.Sample(ctx, db, now.Add(time.Duration(minute)*time.Minute))
			return "", err
		}},
	} {
		b.Run(job.name, func(b *testing.B) {
			for b.Loop() {
				said, err := job.run(b.Context(), now)
				if err != nil {
					b.Fatal(err)
				}
				if said != "" {
					b.Log(said)
				}
			}
		})
	}
}
