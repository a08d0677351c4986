package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func authority(t testing.TB, name string) *Authority {
	t.Helper()
	a, _, err := NewAuthority(name, now, 365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func roots(t testing.TB, of ...*Authority) *Roots {
	t.Helper()
	var certs []*x509.Certificate
	for _, a := range of {
		certs = append(certs, a.Cert)
	}
	r, err := ParseRoots(EncodeCertificates(certs...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// issue goes the way of a node: key, request, signature.
func issue(t testing.TB, a *Authority, id Identity, life time.Duration) []*x509.Certificate {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := Request(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(public, id, now, life)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{cert}
}

var edge = Identity{Region: "eu-west", Node: "eu-west-1", Holder: 12}

// TestWhoIsBelieved is the table of whose certificate counts for what.
func TestWhoIsBelieved(t *testing.T) {
	ours, next, strange := authority(t, "ours"), authority(t, "next"), authority(t, "ours")
	both := roots(t, ours, next)
	client, server := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	asEdge := func(r *Roots, chain []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time, expired bool) error {
		id, err := r.Edge(chain, usage, at, expired)
		if err == nil && id != edge {
			t.Errorf("it is %v", id)
		}
		return err
	}
	week := issue(t, ours, edge, NodeLife)
	core := issue(t, ours, Core, NodeLife)
	for _, c := range []struct {
		about    string
		err      error
		believed bool
	}{
		{"an edge that calls", asEdge(both, week, client, now, false), true},
		{"an edge that answers", asEdge(both, week, server, now, false), true},
		{"an edge by the next authority", asEdge(both, issue(t, next, edge, NodeLife), client, now, false), true},
		{"an edge by an authority of the same name", asEdge(both, issue(t, strange, edge, NodeLife), client, now, false), false},
		{"an edge by an authority that was forgotten", asEdge(roots(t, next), week, client, now, false), false},
		{"an edge whose time has run out", asEdge(both, week, client, now.Add(NodeLife+time.Second), false), false},
		{"the same, which renews", asEdge(both, week, client, now.Add(NodeLife+time.Second), true), true},
		{"the same, by an authority that was forgotten", asEdge(roots(t, next), week, client, now.Add(NodeLife+time.Second), true), false},
		{"an edge whose clock is a day ahead of mine", asEdge(both, week, client, now.Add(-23*time.Hour), false), true},
		{"an edge from far in the future", asEdge(both, week, client, now.Add(-25*time.Hour), true), false},
		{"a core that calls", asEdge(both, core, client, now, false), false},
		{"a core that answers as an edge", asEdge(both, core, server, now, false), false},
		{"nobody", asEdge(both, nil, client, now, false), false},
		{"the authority itself", asEdge(both, []*x509.Certificate{ours.Cert}, client, now, false), false},
		{"a core, whatever it is called", both.Core(core, "10.0.0.1", now), true},
		{"an edge as a core", both.Core(week, edge.Name(), now), false},
		{"a core by a strange authority", both.Core(issue(t, strange, Core, NodeLife), CoreName, now), false},
		{"a core whose time has run out", both.Core(core, CoreName, now.Add(NodeLife+time.Second)), false},
		{"no core", both.Core(nil, CoreName, now), false},
	} {
		if (c.err == nil) != c.believed {
			t.Errorf("%s: %v, want believed: %v", c.about, c.err, c.believed)
		}
	}
	if got := both.Signer(week[0]); got == nil || !got.Equal(ours.Cert) {
		t.Errorf("signed by %v", got)
	}
	if both.Signer(issue(t, strange, edge, NodeLife)[0]) != nil {
		t.Error("an authority of the same name is taken for the signer")
	}
}

// TestIdentities writes who is who into certificates and reads it again; what
// does not agree with itself is nobody.
func TestIdentities(t *testing.T) {
	a := authority(t, "a")
	for _, id := range []Identity{Core, edge, {"a", "b", 1}, {"a.b", "c-d", 1<<31 - 1}} {
		got, err := Identify(issue(t, a, id, time.Hour)[0])
		if err != nil || got != id {
			t.Errorf("%v: %v, %v", id, got, err)
		}
	}
	cert := *issue(t, a, edge, time.Hour)[0]
	uris, names := cert.URIs, cert.DNSNames
	for about, spoil := range map[string]func(){
		"no URI":                func() { cert.URIs = nil },
		"two URIs":              func() { cert.URIs = append(cert.URIs, uris[0]) },
		"no name":               func() { cert.DNSNames = nil },
		"a core's name":         func() { cert.DNSNames = []string{CoreName} },
		"another holder's name": func() { cert.DNSNames = []string{EdgeName(13)} },
		"an authority":          func() { cert.IsCA = true },
	} {
		cert.URIs, cert.DNSNames, cert.IsCA = uris, names, false
		spoil()
		if id, err := Identify(&cert); err == nil {
			t.Errorf("%s: %v", about, id)
		}
	}
	for _, text := range []string{
		"nearside://edge/eu/n/0", "nearside://edge/eu/n/-1", "nearside://edge/eu/n/4294967296", "nearside://edge/eu/n/01",
		"nearside://edge/eu/n", "nearside://edge/eu/n/1/", "nearside://edge/EU/n/1", "nearside://edge//n/1", "nearside://edge/../n/1",
		"nearside://edge/e%2fu/n/1", "nearside://edge/eu/n/1?a", "nearside://edge/eu/n/1#a", "nearside://u@edge/eu/n/1",
		"https://edge/eu/n/1", "nearside://core/", "nearside://core/x", "nearside:core",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := parseURI(u); err == nil {
			t.Errorf("%s: %v", text, id)
		}
	}
}

func TestWhatIsNoAuthority(t *testing.T) {
	a, key, err := NewAuthority("a", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	good := EncodeCertificates(a.Cert)
	for about, text := range map[string][]byte{
		"nothing":          nil,
		"no PEM":           []byte("secret"),
		"a key beside it":  append(bytes.Clone(good), secret...),
		"an edge's":        EncodeCertificates(issue(t, a, edge, time.Hour)...),
		"a broken one":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw[:40]}),
		"too many":         bytes.Repeat(good, maxRoots+1),
		"more than fits":   bytes.Repeat([]byte("x"), maxPEM+1),
		"only a key":       secret,
		"PEM of something": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: a.Cert.Raw}),
	} {
		if _, err := ParseRoots(text); err == nil {
			t.Errorf("%s is taken", about)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the error says %v", about, err)
		}
	}
	// The order is part of what is compared; comments around it are not.
	b := authority(t, "b")
	one, two := roots(t, a, b), roots(t, b, a)
	commented, err := ParseRoots(append([]byte("# ours\n"), one.PEM...))
	if err != nil || one.Sum == two.Sum || commented.Sum != one.Sum {
		t.Errorf("sums %x %x %x, %v", one.Sum, two.Sum, commented.Sum, err)
	}
	if _, err := ParseAuthority(b.Cert, secret); err == nil {
		t.Error("a key of another certificate is taken")
	}
	again, err := ParseAuthority(a.Cert, secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := roots(t, a).Edge(issue(t, again, edge, time.Minute), x509.ExtKeyUsageClientAuth, now, false); err != nil {
		t.Error(err)
	}
	// Nothing outlives who signed it.
	if ends := issue(t, a, edge, 100*24*time.Hour)[0].NotAfter; ends.After(a.Cert.NotAfter) {
		t.Errorf("ends at %v, the authority at %v", ends, a.Cert.NotAfter)
	}
}

// TestReread reads files again when they change, and keeps what it has where
// they cannot be read.
func TestReread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(text string) {
		t.Helper()
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	var said []error
	r, err := Open(func() (string, error) {
		text, err := os.ReadFile(path)
		if strings.HasPrefix(string(text), "bad") {
			err = errors.New("bad")
		}
		return string(text), err
	}, func(err error) { said = append(said, err) }, path)
	if err != nil {
		t.Fatal(err)
	}
	look := func() string {
		r.looked = time.Time{} // as if a second had passed
		return r.Now()
	}
	for _, c := range []struct {
		do   func()
		want string
		said int
	}{
		{func() {}, "one", 0},
		{func() { write("two, longer") }, "two, longer", 1},
		{func() { write("bad") }, "two, longer", 2},
		{func() {}, "two, longer", 2}, // said once
		{func() { _ = os.Remove(path) }, "two, longer", 2},
		{func() { write("three") }, "three", 3},
	} {
		c.do()
		if got := look(); got != c.want || len(said) != c.said {
			t.Errorf("%q, said %v; want %q, %d", got, said, c.want, c.said)
		}
	}
	write("four!!")
	if got := r.Now(); got != "three" {
		t.Errorf("looked again at once: %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Open(func() (int, error) { return 0, errors.New("no") }, nil); err == nil {
		t.Error("what cannot be read at first is no error")
	}
}

func TestPair(t *testing.T) {
	a := authority(t, "a")
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(key.Public(), Core, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var pair *tls.Certificate
	if pair, err = Pair(EncodeCertificates(cert), text); err != nil || len(pair.Certificate) != 1 {
		t.Errorf("%v, %v", pair, err)
	}
	if _, err := Pair(EncodeCertificates(a.Cert), text); err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a key of another certificate: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	good, err := Request(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("MII"))
	f.Fuzz(func(t *testing.T, der []byte) {
		if public, err := ParseRequest(der); err == nil && public == nil {
			t.Error("no key and no error")
		}
	})
}

func FuzzRoots(f *testing.F) {
	a := authority(f, "a")
	f.Add(a.Cert.Raw, "nearside://edge/eu/n/1", "1.edge.nearside.internal")
	f.Add([]byte(nil), "nearside://core", CoreName)
	f.Fuzz(func(t *testing.T, der []byte, uri, name string) {
		for _, text := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})} {
			r, err := ParseRoots(text)
			if err != nil {
				continue
			}
			if again, err := ParseRoots(r.PEM); err != nil || again.Sum != r.Sum {
				t.Errorf("what was read cannot be read again: %v", err)
			}
		}
		u, err := url.Parse(uri)
		if err != nil {
			return
		}
		id, err := Identify(&x509.Certificate{URIs: []*url.URL{u}, DNSNames: []string{name}})
		if err == nil && (id.uri().String() != uri || id.Name() != name) {
			t.Errorf("%s %s is read as %v", uri, name, id)
		}
	})
}
