// Command world gives the tests of terraform/ what they cannot get from a cloud.
//
//	world mmdb FILE            a small MMDB with coordinates, for gdnsd's geoip plugin
//	world http DIR ADDR...     an HTTP server for each loopback address
//
// The server answers /readyz with the status in DIR/HOST_PORT.status (200 when the
// file is missing), and plays the metadata services and APIs of AWS and Azure as
// far as the node's scripts use them. Every request is appended to DIR/requests,
// one line of JSON each, so that a test can look at what a script sent. When all
// addresses answer it prints "ready".
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "mmdb":
		return writeMMDB(args[1])
	case len(args) >= 3 && args[0] == "http":
		return serve(args[1], args[2:])
	}
	return errors.New("usage: world mmdb FILE | world http DIR ADDR...")
}

// places are documentation and benchmarking networks, put where a test wants its
// readers to be.
var places = []struct {
	network, country, continent string
	lat, lon                    float64
}{
	{"192.0.2.0/24", "US", "NA", 40.71, -74.01},    // New York
	{"198.51.100.0/24", "DE", "EU", 52.52, 13.40},  // Berlin
	{"203.0.113.0/24", "IN", "AS", 19.08, 72.88},   // Mumbai
	{"198.18.0.0/16", "BR", "SA", -23.55, -46.63},  // São Paulo
	{"2001:db8:1::/48", "CA", "NA", 45.50, -73.57}, // Montréal
	{"2001:db8:2::/48", "FR", "EU", 48.86, 2.35},   // Paris
	{"2001:db8:3::/48", "LK", "AS", 6.93, 79.86},   // Colombo
}

func writeMMDB(path string) error {
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: "GeoLite2-City", Description: map[string]string{"en": "places of a test"},
		IncludeReservedNetworks: true, RecordSize: 24,
	})
	if err != nil {
		return fmt.Errorf("new mmdb: %w", err)
	}
	for _, p := range places {
		_, network, err := net.ParseCIDR(p.network)
		if err != nil {
			return err
		}
		record := mmdbtype.Map{
			"continent": mmdbtype.Map{"code": mmdbtype.String(p.continent)},
			"country":   mmdbtype.Map{"iso_code": mmdbtype.String(p.country)},
			"location": mmdbtype.Map{
				"accuracy_radius": mmdbtype.Uint16(10),
				"latitude":        mmdbtype.Float64(p.lat),
				"longitude":       mmdbtype.Float64(p.lon),
			},
		}
		if err := tree.Insert(network, record); err != nil {
			return fmt.Errorf("insert %s: %w", p.network, err)
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := tree.WriteTo(file); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

func serve(dir string, addrs []string) error {
	log, err := os.OpenFile(filepath.Join(dir, "requests"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	h := &handler{dir: dir, log: log}
	failed := make(chan error, len(addrs))
	for _, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("%s: expected a loopback address", addr)
		}
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() { failed <- http.Serve(listener, h) }()
	}
	fmt.Println("ready")
	return <-failed
}

type handler struct {
	dir string
	mu  sync.Mutex // guards log
	log *os.File
}

// file returns what a test put into the world's directory, or what stands for it.
func (h *handler) file(name, otherwise string) string {
	b, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		return otherwise
	}
	return strings.TrimSpace(string(b))
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/readyz" {
		h.readyz(w, r)
		return
	}
	line, err := json.Marshal(map[string]any{
		"method": r.Method, "path": r.URL.Path, "query": r.URL.RawQuery, "header": r.Header, "body": string(body),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.mu.Lock()
	_, err = fmt.Fprintf(h.log, "%s\n", line)
	h.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, status := h.cloud(r, string(body))
	w.WriteHeader(status)
	fmt.Fprint(w, answer)
}

func (h *handler) readyz(w http.ResponseWriter, r *http.Request) {
	local := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
	status, err := strconv.Atoi(h.file(strings.ReplaceAll(local, ":", "_")+".status", "200"))
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
}

// cloud answers as the metadata services and APIs do: AWS refuses metadata without
// a session token and calls without a signature, Azure without its own header or a
// bearer token.
func (h *handler) cloud(r *http.Request, body string) (string, int) {
	path := r.URL.Path
	switch {
	case path == "/latest/api/token" && r.Method == http.MethodPut:
		return "session", http.StatusOK
	case strings.HasPrefix(path, "/latest/meta-data/"):
		if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "session" {
			return "", http.StatusUnauthorized
		}
		switch strings.TrimPrefix(path, "/latest/meta-data/") {
		case "instance-id":
			return "i-0123456789abcdef0", http.StatusOK
		case "placement/region":
			return "eu-west-1", http.StatusOK
		case "iam/security-credentials/":
			return "edge-role", http.StatusOK
		case "iam/security-credentials/edge-role":
			return `{"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "wJalr/XUtn+FEMI", "Token": "tok=en"}`, http.StatusOK
		case "autoscaling/target-lifecycle-state":
			return h.file("lifecycle", "InService"), http.StatusOK
		}
	case strings.HasPrefix(path, "/metadata/"):
		if r.Header.Get("Metadata") != "true" {
			return "", http.StatusBadRequest
		}
		switch path {
		case "/metadata/identity/oauth2/token":
			return `{"access_token": "azure-token"}`, http.StatusOK
		case "/metadata/instance/compute/name":
			return "edge_7", http.StatusOK
		case "/metadata/scheduledevents":
			return h.file("events", `{"Events": []}`), http.StatusOK
		}
	case path == "/metrics":
		return h.file("metrics", ""), http.StatusOK
	case path == "/secrets/join" || strings.HasSuffix(path, "/metrics"):
		if r.Header.Get("Authorization") != "Bearer azure-token" {
			return "", http.StatusUnauthorized
		}
		return `{"value": "azure-join"}`, http.StatusOK
	case path == "/":
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") || r.Header.Get("X-Amz-Security-Token") != "tok=en" {
			return "", http.StatusForbidden
		}
		if r.Header.Get("X-Amz-Target") == "secretsmanager.GetSecretValue" && strings.Contains(body, "SecretId") {
			return `{"SecretString": "aws-join"}`, http.StatusOK
		}
		return "<ok/>", http.StatusOK
	}
	return "", http.StatusNotFound
}
