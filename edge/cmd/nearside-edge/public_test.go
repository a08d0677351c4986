package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nearside/sync/trust"
)

// certificate is a bundle for a public.pem, and the name in it.
func certificate(t *testing.T, a *trust.Authority, holder uint32) (bundle []byte, name string) {
	t.Helper()
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(key.Public(), trust.Identity{Region: "eu", Node: "eu-1", Holder: holder}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := trust.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(text, trust.EncodeCertificates(cert)...), cert.DNSNames[0]
}

// TestTheCertificateOfReadersIsReplacedUnderThem: a reader's open connection goes
// on over a renewal, the next connection shows the new certificate, a file that is
// none changes nothing, and the address that is never TLS answers all the while.
func TestTheCertificateOfReadersIsReplacedUnderThem(t *testing.T) {
	authority, _, err := trust.NewAuthority("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Cert)
	dir := t.TempDir()
	file := filepath.Join(dir, "public.pem")
	put := func(text []byte) {
		t.Helper()
		if err := trust.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, firstName := certificate(t, authority, 1)
	put(first)

	p := newProcess(t, newCore(t))
	bare := free(t)
	p.more = []string{"--tls-dir", dir, "--listen", "http://" + bare}
	p.start()
	ready := func() error {
		res, err := p.client.Get("http://" + bare + "/readyz")
		if err == nil {
			err = res.Body.Close()
		}
		if err == nil && res.StatusCode != http.StatusOK {
			err = io.ErrNoProgress
		}
		return err
	}
	p.until("the plain address to say ready", func() bool { return ready() == nil })

	// dial opens a connection of a reader who believes the authority.
	dial := func(name string) (*http.Client, *int) {
		dials := new(int)
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				*dials++
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}, dials
	}
	ask := func(c *http.Client) error {
		res, err := c.Get("https://" + p.public + "/readyz")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		if closed := res.Body.Close(); err == nil {
			err = closed
		}
		if err == nil && res.StatusCode != http.StatusOK {
			err = io.ErrNoProgress
		}
		return err
	}
	old, dials := dial(firstName)
	if err := ask(old); err != nil {
		t.Fatal(err)
	}
	if res, err := p.client.Get("http://" + p.public + "/readyz"); err == nil {
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("the address that speaks TLS answers plain HTTP")
		}
	}

	second, secondName := certificate(t, authority, 2)
	put(second)
	p.until("the next connection to show the second certificate", func() bool {
		c, _ := dial(secondName)
		defer c.CloseIdleConnections()
		return ask(c) == nil
	})
	if err := ask(old); err != nil || *dials != 1 {
		t.Errorf("the connection from before the renewal: %v, %d dials", err, *dials)
	}

	put(bytes.Replace(second, []byte("CERTIFICATE"), []byte("CERTAINTY"), 1))
	p.until("the log to say that a wrong file is not used", func() bool {
		c, _ := dial(secondName)
		defer c.CloseIdleConnections()
		if err := ask(c); err != nil {
			t.Fatalf("with a wrong file: %v", err)
		}
		return bytes.Contains([]byte(p.log.String()), []byte("cannot be used: what they held before stays in force"))
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	third, _ := dial(secondName)
	if err := ask(third); err != nil {
		t.Errorf("without a file: %v", err)
	}
	if err := ready(); err != nil {
		t.Errorf("the plain address: %v", err)
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
}
