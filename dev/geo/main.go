// Command geo refreshes the data that is built into the edge: the country
// database and the patterns of known crawlers. It needs npm, and a network.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/oschwald/maxminddb-golang/v2"
)

const (
	places   = "@ip-location-db/geo-whois-asn-country-mmdb"
	crawlers = "crawler-user-agents"
)

func main() {
	out := flag.String("out", "edge/visitor/data", "`directory` to write to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "geo:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	tmp, err := os.MkdirTemp("", "nearside-geo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	mmdb, version, err := pack(tmp, places, "package/geo-whois-asn-country.mmdb")
	if err != nil {
		return err
	}
	if err := writePlaces(filepath.Join(out, "country.mmdb.zst"), mmdb); err != nil {
		return err
	}
	fmt.Println(places, version)
	list, version, err := pack(tmp, crawlers, "package/crawler-user-agents.json")
	if err != nil {
		return err
	}
	if err := writeCrawlers(filepath.Join(out, "crawlers.txt"), list, version); err != nil {
		return err
	}
	fmt.Println(crawlers, version)
	return nil
}

// pack downloads the newest version of an npm package and returns one file of it.
func pack(dir, name, file string) ([]byte, string, error) {
	cmd := exec.Command("npm", "pack", "--json", name)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	said, err := cmd.Output()
	if err != nil {
		return nil, "", fmt.Errorf("npm pack %s: %w", name, err)
	}
	var packed []struct{ Filename, Version string }
	if err := json.Unmarshal(said, &packed); err != nil || len(packed) != 1 {
		return nil, "", fmt.Errorf("npm pack %s: unexpected answer %q", name, said)
	}
	f, err := os.Open(filepath.Join(dir, packed[0].Filename))
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if err != nil {
			return nil, "", fmt.Errorf("%s: looking for %s: %w", name, file, err)
		}
		if h.Name == file {
			b, err := io.ReadAll(r)
			return b, packed[0].Version, err
		}
	}
}

func writePlaces(file string, mmdb []byte) error {
	db, err := maxminddb.OpenBytes(mmdb)
	if err != nil {
		return err
	}
	// Verify of maxminddb insists on a description, which this file lacks.
	countries := map[string]int{}
	for network := range db.Networks() {
		var r struct {
			Code string `maxminddb:"country_code"`
		}
		if err := network.Decode(&r); err != nil {
			return fmt.Errorf("country database: %s: %w", network.Prefix(), err)
		}
		countries[r.Code]++
	}
	if len(countries) < 200 {
		return fmt.Errorf("country database: %d countries, expected at least 200", len(countries))
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return os.WriteFile(file, w.EncodeAll(mmdb, nil), 0o644)
}

func writeCrawlers(file string, list []byte, version string) error {
	var entries []struct{ Pattern string }
	if err := json.Unmarshal(list, &entries); err != nil {
		return fmt.Errorf("crawler list: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Patterns of %s %s, one regular expression a line.\n", crawlers, version)
	b.WriteString("# Copyright (c) 2017 Martin Monperrus and contributors, MIT licence; see NOTICE.\n")
	for _, e := range entries {
		if e.Pattern == "" || strings.ContainsAny(e.Pattern, "\r\n") {
			return fmt.Errorf("crawler list: pattern %q, expected one line", e.Pattern)
		}
		b.WriteString(e.Pattern + "\n")
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
