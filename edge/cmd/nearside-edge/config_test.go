package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong is named in one line, and nothing is started.
func TestWrongConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := []string{"--region", "eu", "--node", "eu-1", "--core", "http://core:8081", "--state-dir", filepath.Join(dir, "state"), "--check"}
	tests := []struct {
		name string
		args []string
		key  string // in the error; "" for none
	}{
		{"right", nil, ""},
		{"no region", []string{"--region", ""}, "--region"},
		{"region in capitals", []string{"--region", "EU"}, "--region"},
		{"node with a space", []string{"--node", "a b"}, "--node"},
		{"core without a scheme", []string{"--core", "core:8081"}, "--core"},
		{"core with a password", []string{"--core", "http://u:secret@core"}, "--core"},
		{"listen without a port", []string{"--listen", "localhost"}, "--listen"},
		{"listen at a path", []string{"--listen", "http://localhost:80/x"}, "--listen"},
		{"no address to listen at", []string{"--listen", ""}, "--listen"},
		{"addresses without end", []string{"--listen", ":1,:2,:3,:4,:5,:6,:7,:8,:9"}, "--listen"},
		{"two addresses, one never TLS", []string{"--listen", ":8443,http://:8080"}, ""},
		{"port too high", []string{"--ops-listen", "127.0.0.1:70000"}, "--ops-listen"},
		{"gossip port that is a name", []string{"--gossip-listen", "127.0.0.1:x"}, "--gossip-listen"},
		{"public URL without a scheme", []string{"--public-url", "eu.example.com"}, "--public-url"},
		{"public URL with a query", []string{"--public-url", "https://eu.example.com/?a"}, "--public-url"},
		{"public URL with a last slash", []string{"--public-url", "https://eu.example.com/"}, ""},
		{"interval of nothing", []string{"--exchange-interval", "0s"}, "--exchange-interval"},
		{"interval without a unit", []string{"--exchange-interval", "1"}, "--exchange-interval"},
		{"too many proxies", []string{"--trusted-proxies", "99"}, "--trusted-proxies"},
		{"a header that is none", []string{"--cdn-headers", "a: b"}, "--cdn-headers"},
		{"a country's header that is none", []string{"--cdn-headers", "CF-Connecting-IP,a: b"}, "--cdn-headers"},
		{"too many headers", []string{"--cdn-headers", "a,b,c"}, "--cdn-headers"},
		{"a CDN's headers", []string{"--cdn-headers", "CF-Connecting-IP,CF-IPCountry"}, ""},
		{"a country's header alone", []string{"--cdn-headers", ",CF-IPCountry"}, ""},
		{"a copy without a region", []string{"--replicate"}, "--gossip-key-file"},
		{"no network", []string{"--blocklist-file", file("i1", "internal_ips: [10.0.0]\n")}, "internal_ips"},
		{"networks", []string{"--blocklist-file", file("i2", "internal_ips: [10.0.0.0/8, 'fd00::/8']\n")}, ""},
		{"no TLS directory", []string{"--tls-dir", filepath.Join(dir, "nonesuch")}, "--tls-dir"},
		{"a TLS directory with nothing in it", []string{"--tls-dir", t.TempDir()}, ""},
		{"an authority that is none", []string{"--tls-dir", filepath.Dir(file("tls1/ca.pem", "secret"))}, "--tls-dir"},
		{"a public certificate that is none", []string{"--tls-dir", filepath.Dir(file("tls2/public.pem", "secret"))}, "--tls-dir"},
		{"operators' tokens", []string{"--operator-token-file", file("o1", "a-secret-of-an-operator\nanother-secret-of-one\n")}, ""},
		{"an operator's token that is short", []string{"--operator-token-file", file("o2", "secret\n")}, "--operator-token-file"},
		{"no operator's token", []string{"--operator-token-file", file("o3", "\n")}, "--operator-token-file"},
		{"rate limits off", []string{"--rate-limits=false"}, ""},
		{"rate limits off, in words", []string{"--no-rate-limits"}, ""},
		{"unknown flag", []string{"--nonesuch"}, "--nonesuch"},
		{"seeds without a key", []string{"--seeds", "10.0.0.2:8182"}, "--gossip-key-file"},
		{"geo file that is none", []string{"--geo-file", file("geo", "nonsense")}, "--geo-file"},
		{"no geo file", []string{"--geo-file", filepath.Join(dir, "nonesuch")}, "--geo-file"},
		{"keys that are none", []string{"--gossip-key-file", file("keys", "c2VjcmV0\n")}, "--gossip-key-file"},
		{"no keys in the file", []string{"--gossip-key-file", file("empty", "")}, "--gossip-key-file"},
		{"keys", []string{"--gossip-key-file", file("good", base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n")}, ""},
		{"no such file", []string{"--gossip-key-file", filepath.Join(dir, "nonesuch")}, "--gossip-key-file"},
		{"blocklist", []string{"--blocklist-file", file("block", "agents: [Firefox]\nreferrers: ['^http://evil']\nips: [9.9.9.9, 10.0.0.0/8]\nasns: [13335]\nasn_rates: [100/60]\n")}, ""},
		{"blocklist with an unknown key", []string{"--blocklist-file", file("b1", "agent: [x]\n")}, "--blocklist-file"},
		{"blocklist with a bad expression", []string{"--blocklist-file", file("b2", "agents: ['(']\n")}, "agents"},
		{"blocklist with a bad network", []string{"--blocklist-file", file("b3", "ips: [x]\n")}, "ips"},
		{"one's own networks", []string{"--blocklist-file", file("b6", "internal_ips: [10.0.0.0/8, 'fd00::/8']\n")}, ""},
		{"blocklist with a bad network of one's own", []string{"--blocklist-file", file("b7", "internal_ips: [10.0.0.0/99]\n")}, "internal_ips"},
		{"a copy without a region", []string{"--replicate"}, "--gossip-key-file"},
		{"blocklist with a bad rate", []string{"--blocklist-file", file("b4", "asn_rates: [many]\n")}, "asn_rates"},
		{"blocklist that is no YAML", []string{"--blocklist-file", file("b5", "a: [")}, "--blocklist-file"},
		{"configuration file with an unknown key", []string{"--config", file("c1", "nonesuch: 1\n")}, `"nonesuch"`},
		{"configuration file that is no map", []string{"--config", file("c2", "- a\n")}, "--config"},
		{"no configuration file", []string{"--config", filepath.Join(dir, "nonesuch")}, "--config"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), append(append([]string{}, right...), tt.args...), &stdout, &stderr)
			if tt.key == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var wrong configError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.key) || strings.Contains(err.Error(), "--config: --") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %s", err, tt.key)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("a secret in %v", err)
			}
		})
	}
	for _, missing := range []string{"--core", "--state-dir"} {
		var args []string
		for i := 0; i < len(right)-1; i += 2 {
			if right[i] != missing {
				args = append(args, right[i], right[i+1])
			}
		}
		var out bytes.Buffer
		if err := run(t.Context(), append(args, "--check"), &out, &out); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

// A flag wins over the environment, which wins over the file.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(file, []byte("region: file\nnode: file\ntrusted-proxies: 1\ncore: [http://a, http://b]\nstate-dir: /nonesuch\ndebug-headers: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NEARSIDE_CONFIG", file)
	t.Setenv("NEARSIDE_NODE", "environment")
	t.Setenv("NEARSIDE_TRUSTED_PROXIES", "2")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--check", "--trusted-proxies", "3"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"region: file", "node: environment", "trusted-proxies: 3", "core: [http://a http://b]", "debug-headers: true", "rate-limits: true"} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
}

// Fewer than 25 knobs, each with a word of help and its own variable.
func TestKnobs(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--check", "--region", "a", "--node", "a", "--core", "http://a", "--state-dir", "a"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n") - 2; n >= 25 { // the database's line, and --config, which is how to turn them
		t.Errorf("%d knobs", n)
	}
	out.Reset()
	if err := run(t.Context(), []string{"--version"}, &out, &out); err != nil || !strings.Contains(out.String(), " go1.") || strings.Contains(out.String(), "  ") {
		t.Errorf("--version: %v, %q", err, out.String())
	}
}
